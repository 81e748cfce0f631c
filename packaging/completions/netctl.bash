# SPDX-License-Identifier: MIT
# bash completion for netctl(1).

_netctl_vms() {
	netctl vm list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_netctl_forwards() {
	netctl forward list "$1" 2>/dev/null | awk 'NR > 1 { print $2 }'
}

_netctl_keys() {
	netctl env show "$1" 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_netctl_secrets() {
	netctl secret list "$1" 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_netctl_maps() {
	netctl vsock list "$1" 2>/dev/null | awk 'NR > 1 { print $2 }'
}

_netctl_snapshots() {
	netctl snapshot list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_netctl_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Whether what follows such a short option is its value.
_netctl_letter_takes() {
	case $1$2 in
	events-n | events-t | top-n | top-d | top-S | flows-n | flows-S | capture-w | capture-p | capture-c | apply-f) return 0 ;;
	esac
	return 1
}

_netctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local noun= verb= i word words=() create run
	local limits='--rate-in --rate-out --max-flows --new-flows'
	local dns='--dns --search --dns-unlisted'
	local proxy='--proxy --proxy-from --proxy-env --no-proxy --proxy-failure --fake-ip'
	create="--link --vsock --cid --mtu --subnet --mac $dns --ephemeral --ttl --policy --host-access --forward $limits $proxy"
	run="--mtu --subnet --mac $dns --policy --host-access --forward --vsock --cid $limits $proxy --map-root --help"
	COMPREPLY=()

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-s | -o | --socket | --output) ((i++)) ;;
		--) [[ ${words[0]} == run ]] && words+=("$word") && break ;;
		-*) ;;
		*)
			# The command of run is completed as one.
			if [[ ${words[0]} == run && ${COMP_WORDS[i - 1]} != --@(mtu|subnet|mac|dns|search|dns-unlisted|policy|forward|vsock|cid|rate-in|rate-out|max-flows|new-flows|proxy|proxy-from|proxy-env|no-proxy|proxy-failure|fake-ip) ]]; then
				words+=("$word")
				break
			fi
			[[ ${COMP_WORDS[i - 1]} == --@(mtu|policy|forward|vsock|cid|rate-in|rate-out|max-flows|new-flows|proxy|proxy-from|proxy-env|no-proxy|proxy-failure|fake-ip|proto|dir|state|src|dst|sport|dport|port|sort|limit|count|interval|link|subnet|mac|dns|search|dns-unlisted|ttl|name|since|from-file|verify|vm|type|max-size|snaplen|last|write|file) ]] ||
				_netctl_letter_takes "${words[0]-}" "${COMP_WORDS[i - 1]}" ||
				words+=("$word")
			;;
		esac
	done
	noun=${words[0]-} verb=${words[1]-}

	if [[ $noun == run && -n $verb ]]; then
		[[ $verb == -- ]] && ((i++))
		if declare -F _command_offset >/dev/null; then
			_command_offset "$i"
		else
			mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
		fi
		return
	fi
	case $prev in
	-o | --output) _netctl_words 'json table'; return ;;
	-s | --socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--from-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	-f | --file)
		if [[ $noun == apply ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
		fi
		;;
	--link) _netctl_words 'stream dgram attach none'; return ;;
	--vsock) _netctl_words 'vhost stream hybrid none'; return ;;
	--proxy) _netctl_words 'socks5:// http:// host none'; return ;;
	--proxy-from) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--proxy-env) mapfile -t COMPREPLY < <(compgen -e -- "$cur"); return ;;
	--proxy-failure) _netctl_words 'refuse direct'; return ;;
	--fake-ip) _netctl_words 'auto on off'; return ;;
	--dns-unlisted) _netctl_words 'nxdomain answer'; return ;;
	--policy) mapfile -t COMPREPLY < <(compgen -W 'open public none' -f -- "$cur"); return ;;
	--rate-in | --rate-out) _netctl_words '10mbit 100mbit 1gbit none'; return ;;
	--max-flows | --new-flows | --src | --dst | --sport | --dport | --port | --limit | --count | --interval) return ;;
	-n | -d) [[ $noun == @(flows|top|events) ]] && return ;;
	-p | -c) [[ $noun == capture ]] && return ;;
	--vm) _netctl_words "$(_netctl_vms)"; return ;;
	-t | --type)
		if [[ $noun == events ]]; then
			_netctl_words 'vm worker link vsock guest listener forward map policy flow.refused proxy env secret snapshot'
			return
		fi
		;;
	--verify) _netctl_words 'strict dns'; return ;;
	--host-access) [[ "$noun $verb" == 'vm set' ]] && _netctl_words 'on off' && return ;;
	--proto) _netctl_words 'tcp udp icmp vsock'; return ;;
	--dir) _netctl_words 'in out'; return ;;
	--state) _netctl_words 'established syn-sent syn-rcvd dialling guest-closed host-closed closing open dns forward echo'; return ;;
	-w | --write)
		if [[ $noun == capture ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
		fi
		;;
	-S | --sort)
		if [[ $noun == top ]]; then
			_netctl_words 'traffic name flows in out new refused dropped'
		else
			_netctl_words 'age idle sent received bytes proto dir state guest remote host'
		fi
		return
		;;
	--mtu | --cid | --subnet | --mac | --dns | --search | --ttl | --forward | --no-proxy | --name | --since | --last | --max-size | --snaplen) return ;;
	esac
	if [[ -z $noun ]]; then
		_netctl_words 'run vm forward vsock listener policy hosts env secret snapshot apply export stats flows top events capture dashboard health version
			-s -o --help --version'
		return
	fi
	case $noun in
	run) _netctl_words "$run --" ;;
	stats) [[ -n $verb ]] || _netctl_words "$(_netctl_vms) --help" ;;
	flows)
		if [[ -n $verb ]]; then
			_netctl_words '-t -u --tcp --udp --proto --dir --state --src --dst --sport --dport --port --sort --reverse --limit --help'
		else
			_netctl_words "$(_netctl_vms) --help"
		fi
		;;
	top) _netctl_words '-n -d --count --interval --sort --help' ;;
	apply) _netctl_words '-f --file --dry-run --cut-existing --require-secrets --help' ;;
	export) mapfile -t COMPREPLY < <(compgen -W '--help' -f -- "$cur") ;;
	events) _netctl_words '-f --follow --since -n --last --vm -t --type --help' ;;
	capture)
		if [[ -n $verb ]]; then
			_netctl_words '-w --write -p --port -c --count --max-size --snaplen --help'
		else
			_netctl_words "$(_netctl_vms) --help"
		fi
		;;
	dashboard) _netctl_words '--port --help' ;;
	health | version) _netctl_words '--help' ;;
	vm | forward | vsock | listener | policy | hosts | env | secret | snapshot) _netctl_verb ;;
	esac
}

_netctl_verb() {
	if [[ -z $verb ]]; then
		case $noun in
		vm) _netctl_words 'create list show set restore reset delete --help' ;;
		forward) _netctl_words 'add list delete --help' ;;
		vsock) _netctl_words 'map unmap list --help' ;;
		listener) _netctl_words 'list --help' ;;
		policy) _netctl_words 'show set allow deny check --help' ;;
		hosts) _netctl_words 'set list --help' ;;
		env) _netctl_words 'set load show unset --help' ;;
		secret) _netctl_words 'set list delete --help' ;;
		snapshot) _netctl_words 'create list show export import delete --help' ;;
		esac
		return
	fi
	case "$noun $verb ${#words[@]}" in
	'vm create '*) _netctl_words "$create --help" ;;
	'vm list '*) _netctl_words '--help' ;;
	'vm set '[3-9]*) _netctl_words "$dns --ttl --policy --host-access $limits $proxy --help" ;;
	'snapshot show 2' | 'snapshot export 2' | 'snapshot delete 2')
		_netctl_words "$(_netctl_snapshots) --help"
		;;
	'snapshot export 3' | 'snapshot import 2') mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	*' 2') _netctl_words "$(_netctl_vms) --help" ;;
	'vm restore 3') _netctl_words "$(_netctl_snapshots) --require-secrets --help" ;;
	'vm restore '*) _netctl_words '--require-secrets --help' ;;
	'snapshot create '*) _netctl_words '--require-idle --name --help' ;;
	'forward delete 3') _netctl_words "$(_netctl_forwards "${words[2]}")" ;;
	'forward add '*) _netctl_words '--snat --name --help' ;;
	'vsock unmap 3') _netctl_words "$(_netctl_maps "${words[2]}")" ;;
	'vsock map 4') _netctl_words 'unix: tcp:' ;;
	'env load 3') mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	'env unset '*) _netctl_words "$(_netctl_keys "${words[2]}")" ;;
	'secret set 3') _netctl_words "$(_netctl_secrets "${words[2]}") --from-file --help" ;;
	'secret set '*) _netctl_words '--from-file --help' ;;
	'secret delete 3') _netctl_words "$(_netctl_secrets "${words[2]}")" ;;
	'policy show 3') _netctl_words '--stats --help' ;;
	'policy set 4' | 'policy deny '[45]) _netctl_words '--cut-existing --help' ;;
	'policy allow '[456]) _netctl_words '--verify --cut-existing --help' ;;
	'policy set 3') mapfile -t COMPREPLY < <(compgen -W 'open public none' -f -- "$cur") ;;
	'policy allow 3' | 'policy deny 3') _netctl_words 'any' ;;
	esac
}

complete -F _netctl netctl
