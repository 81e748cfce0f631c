# SPDX-License-Identifier: MIT
# fish completion for netctl(1).

function __netctl_vms
    netctl vm list 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __netctl_forwards
    set -l words (commandline -opc)
    netctl forward list $words[4] 2>/dev/null | awk 'NR > 1 { print $2 }'
end

function __netctl_keys
    set -l words (commandline -opc)
    netctl env show $words[4] 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __netctl_secrets
    set -l words (commandline -opc)
    netctl secret list $words[4] 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __netctl_maps
    set -l words (commandline -opc)
    netctl vsock list $words[4] 2>/dev/null | awk 'NR > 1 { print $2 }'
end

function __netctl_snapshots
    netctl snapshot list 2>/dev/null | awk 'NR > 1 { print $1 }'
end

function __netctl_is
    set -l words (commandline -opc)
    string match -q -- "$argv *" "$words[2..-1] "
end

function __netctl_words
    test (count (commandline -opc)) -eq $argv[1]
end

# fish has completions of its own for another program of this name.
complete -c netctl -e
complete -c netctl -f
complete -c netctl -s s -l socket -r -F -d 'The api.sock of the daemon'
complete -c netctl -s o -l output -x -a 'json table' -d 'What to print'
complete -c netctl -s h -l help -d 'Explain'
complete -c netctl -n __fish_use_subcommand -s V -l version -d 'Print the version'

complete -c netctl -n __fish_use_subcommand -a run -d 'Run a command in a network of its own'
complete -c netctl -n __fish_use_subcommand -a vm -d 'VMs'
complete -c netctl -n __fish_use_subcommand -a forward -d 'Host ports that lead to a guest'
complete -c netctl -n __fish_use_subcommand -a vsock -d 'Vsock ports that lead a guest to host services'
complete -c netctl -n __fish_use_subcommand -a listener -d 'What a guest listens on through TSI'
complete -c netctl -n __fish_use_subcommand -a policy -d 'Where a guest may go'
complete -c netctl -n __fish_use_subcommand -a hosts -d 'Names that the guest DNS answers itself'
complete -c netctl -n __fish_use_subcommand -a env -d 'The environment that a guest may ask for'
complete -c netctl -n __fish_use_subcommand -a secret -d 'Values that only the guest gets'
complete -c netctl -n __fish_use_subcommand -a snapshot -d 'Records of VMs to restore from'
complete -c netctl -n __fish_use_subcommand -a apply -d 'Bring the host to the state that a document says'
complete -c netctl -n __fish_use_subcommand -a export -d 'Write the wanted state of the host'
complete -c netctl -n __fish_use_subcommand -a stats -d 'Counters of a VM'
complete -c netctl -n __fish_use_subcommand -a flows -d 'Live flows of a VM'
complete -c netctl -n __fish_use_subcommand -a top -d 'What goes through the VMs now'
complete -c netctl -n __fish_use_subcommand -a events -d 'What happened'
complete -c netctl -n __fish_use_subcommand -a capture -d "A VM's frames, for Wireshark"
complete -c netctl -n __fish_use_subcommand -a dashboard -d 'A page for the browser'
complete -c netctl -n __fish_use_subcommand -a health -d 'How the daemon is'
complete -c netctl -n __fish_use_subcommand -a version -d 'Versions'

complete -c netctl -n '__netctl_is vm; and __netctl_words 2' -a 'create list show set restore reset delete'
complete -c netctl -n '__netctl_is forward; and __netctl_words 2' -a 'add list delete'
complete -c netctl -n '__netctl_is vsock; and __netctl_words 2' -a 'map unmap list'
complete -c netctl -n '__netctl_is listener; and __netctl_words 2' -a list
complete -c netctl -n '__netctl_is policy; and __netctl_words 2' -a 'show set allow deny check'
complete -c netctl -n '__netctl_is hosts; and __netctl_words 2' -a 'set list'
complete -c netctl -n '__netctl_is env; and __netctl_words 2' -a 'set load show unset'
complete -c netctl -n '__netctl_is secret; and __netctl_words 2' -a 'set list delete'
complete -c netctl -n '__netctl_is snapshot; and __netctl_words 2' -a 'create list show export import delete'

for noun in capture 'stats' 'flows'
    complete -c netctl -n "__netctl_is $noun; and __netctl_words 2" -a '(__netctl_vms)'
end
for verb in 'vm show' 'vm set' 'vm restore' 'vm reset' 'vm delete' 'snapshot create' 'snapshot list' \
        'forward add' 'forward list' 'forward delete' 'vsock map' \
        'vsock unmap' 'vsock list' 'listener list' 'policy show' \
        'policy set' 'policy allow' 'policy deny' 'policy check' 'hosts set' 'hosts list' \
        'env set' 'env load' 'env show' 'env unset' 'secret set' 'secret list' 'secret delete'
    complete -c netctl -n "__netctl_is $verb; and __netctl_words 3" -a '(__netctl_vms)'
end
for verb in 'snapshot show' 'snapshot export' 'snapshot delete'
    complete -c netctl -n "__netctl_is $verb; and __netctl_words 3" -a '(__netctl_snapshots)'
end
complete -c netctl -n '__netctl_is vm restore; and __netctl_words 4' -a '(__netctl_snapshots)'
complete -c netctl -n '__netctl_is vm restore' -l require-secrets -d 'Refuse where a secret is missing'
complete -c netctl -n '__netctl_is snapshot create' -l require-idle -d 'Refuse while anything would be lost'
complete -c netctl -n '__netctl_is snapshot create' -l name -x -d 'A label'
complete -c netctl -n '__netctl_is snapshot export; and __netctl_words 4' -F
complete -c netctl -n '__netctl_is snapshot import; and __netctl_words 3' -F
complete -c netctl -n '__netctl_is forward delete; and __netctl_words 4' -a '(__netctl_forwards)'
complete -c netctl -n '__netctl_is vsock unmap; and __netctl_words 4' -a '(__netctl_maps)'
complete -c netctl -n '__netctl_is policy set; and __netctl_words 4' -F -a 'open public none'
complete -c netctl -n '__netctl_is policy show' -l stats -d 'What each rule let through and refused'
for verb in 'policy set' 'policy allow' 'policy deny'
    complete -c netctl -n "__netctl_is $verb" -l cut-existing -d 'End flows that it forbids'
end
complete -c netctl -n '__netctl_is policy allow' -l verify -x -a 'strict dns' -d 'How names are enforced'
complete -c netctl -n '__netctl_is env load; and __netctl_words 4' -F
complete -c netctl -n '__netctl_is env unset; and not __netctl_words 3' -a '(__netctl_keys)'
for verb in 'secret set' 'secret delete'
    complete -c netctl -n "__netctl_is $verb; and __netctl_words 4" -a '(__netctl_secrets)'
end
complete -c netctl -n '__netctl_is secret set' -l from-file -r -F -d 'Take the value from a file'

for noun in 'vm create' 'run'
    complete -c netctl -n "__netctl_is $noun" -l mtu -x -d 'The MTU'
    complete -c netctl -n "__netctl_is $noun" -l policy -r -F -a 'open public none' -d 'Where it may go'
    complete -c netctl -n "__netctl_is $noun" -l host-access -d 'The gateway is the host loopback'
    complete -c netctl -n "__netctl_is $noun" -l subnet -x -d 'The network of the guest'
    complete -c netctl -n "__netctl_is $noun" -l mac -x -d 'The hardware address'
    complete -c netctl -n "__netctl_is $noun" -l forward -x -d 'A forward'
    complete -c netctl -n "__netctl_is $noun" -l vsock -x -a 'vhost stream hybrid: none' -d 'The vsock of the guest'
    complete -c netctl -n "__netctl_is $noun" -l cid -x -d 'The CID of the guest'
end
complete -c netctl -n '__netctl_is vm set' -l policy -r -F -a 'open public none' -d 'Where it may go'
complete -c netctl -n '__netctl_is vm set' -l host-access -x -a 'on off' -d 'Whether the gateway is the host loopback'
complete -c netctl -n '__netctl_is vm set' -l ttl -x -d 'Delete the VM after so long without a VMM'
for noun in 'vm create' 'vm set' 'run'
    complete -c netctl -n "__netctl_is $noun" -l dns -x -d 'A DNS server'
    complete -c netctl -n "__netctl_is $noun" -l search -x -d 'A search domain'
    complete -c netctl -n "__netctl_is $noun" -l dns-unlisted -x -a 'nxdomain answer' -d 'Names that no rule could admit'
    complete -c netctl -n "__netctl_is $noun" -l rate-in -x -a '10mbit 100mbit 1gbit none' -d 'At most so much to the guest'
    complete -c netctl -n "__netctl_is $noun" -l rate-out -x -a '10mbit 100mbit 1gbit none' -d 'At most so much from the guest'
    complete -c netctl -n "__netctl_is $noun" -l max-flows -x -a none -d 'At most so many flows'
    complete -c netctl -n "__netctl_is $noun" -l new-flows -x -a none -d 'At most so many new flows a second'
    complete -c netctl -n "__netctl_is $noun" -l proxy -x -a 'socks5:// http:// host none' -d 'By which proxy its flows go'
    complete -c netctl -n "__netctl_is $noun" -l proxy-from -r -F -d 'Take the URL from a file'
    complete -c netctl -n "__netctl_is $noun" -l proxy-env -x -a '(set --names --export)' -d 'Take it from the environment'
    complete -c netctl -n "__netctl_is $noun" -l no-proxy -x -d 'What goes straight there'
    complete -c netctl -n "__netctl_is $noun" -l proxy-failure -x -a 'refuse direct' -d 'What if the proxy fails'
    complete -c netctl -n "__netctl_is $noun" -l fake-ip -x -a 'auto on off' -d '198.18.0.0/15 stands for names'
end
complete -c netctl -n '__netctl_is vm create' -l link -x -a 'stream dgram attach none' -d 'How the VMM connects'
complete -c netctl -n '__netctl_is vm create' -l ephemeral -d 'Stay, and delete the VM at a signal'
complete -c netctl -n '__netctl_is vm create' -l ttl -x -d 'Delete the VM after so long without a VMM'
complete -c netctl -n '__netctl_is forward add' -l snat -d 'From the address of the gateway'
complete -c netctl -n '__netctl_is forward add' -l name -x -d 'A name'
complete -c netctl -n '__netctl_is apply' -s f -l file -r -F -d 'The document'
complete -c netctl -n '__netctl_is apply' -s n -l dry-run -d 'Only tell what would change'
complete -c netctl -n '__netctl_is apply' -l cut-existing -d 'End flows that a new policy forbids'
complete -c netctl -n '__netctl_is apply' -l require-secrets -d 'Refuse where a secret is missing'
complete -c netctl -n '__netctl_is export; and __netctl_words 2' -F
complete -c netctl -n '__netctl_is flows' -s t -l tcp -d 'Only TCP'
complete -c netctl -n '__netctl_is flows' -s u -l udp -d 'Only UDP'
complete -c netctl -n '__netctl_is flows' -l proto -x -a 'tcp udp icmp vsock' -d 'Protocols'
complete -c netctl -n '__netctl_is flows' -l dir -x -a 'in out' -d 'Who began it'
complete -c netctl -n '__netctl_is flows' -l state -x -a 'established syn-sent syn-rcvd dialling guest-closed host-closed closing open dns forward echo' -d 'States'
complete -c netctl -n '__netctl_is flows' -l src -x -d 'Addresses of the guest'
complete -c netctl -n '__netctl_is flows' -l dst -x -d 'Addresses of the remote end'
complete -c netctl -n '__netctl_is flows' -l sport -x -d 'Ports of the guest'
complete -c netctl -n '__netctl_is flows' -l dport -x -d 'Ports of the remote end'
complete -c netctl -n '__netctl_is flows' -l port -x -d 'Ports of either'
complete -c netctl -n '__netctl_is flows' -s S -l sort -x -a 'age idle sent received bytes proto dir state guest remote host' -d 'Order'
complete -c netctl -n '__netctl_is flows' -s r -l reverse -d 'The other way round'
complete -c netctl -n '__netctl_is flows' -s n -l limit -x -d 'At most so many'
complete -c netctl -n '__netctl_is top' -s n -l count -x -d 'End after so many'
complete -c netctl -n '__netctl_is top' -s d -l interval -x -d 'Seconds from one to the next'
complete -c netctl -n '__netctl_is top' -s S -l sort -x -a 'traffic name flows in out new refused dropped' -d 'Order'
complete -c netctl -n '__netctl_is events' -s f -l follow -d 'Go on until interrupted'
complete -c netctl -n '__netctl_is events' -l since -x -d 'Only events after this one'
complete -c netctl -n '__netctl_is events' -s n -l last -x -d 'Only the newest'
complete -c netctl -n '__netctl_is events' -l vm -x -a '(__netctl_vms)' -d 'Only of this VM'
complete -c netctl -n '__netctl_is events' -s t -l type -x -a 'vm worker link vsock guest listener forward map policy flow.refused proxy env secret snapshot' -d 'Only of these types'
complete -c netctl -n '__netctl_is capture' -s w -l write -r -F -d 'Where to'
complete -c netctl -n '__netctl_is capture' -s p -l port -x -d 'Only these ports'
complete -c netctl -n '__netctl_is capture' -s c -l count -x -d 'End after so many frames'
complete -c netctl -n '__netctl_is capture' -l max-size -x -d 'End before the file is larger'
complete -c netctl -n '__netctl_is capture' -l snaplen -x -d 'Keep so many bytes of each frame'
complete -c netctl -n '__netctl_is dashboard' -l port -x -d 'Serve on this port'
complete -c netctl -n '__netctl_is run' -l map-root -d 'COMMAND is root in a user namespace'
complete -c netctl -n '__netctl_is run' -a '(__fish_complete_subcommand --fcs-skip=2)'
