# SPDX-License-Identifier: MIT
"""A network for netctld and its guests' peers: a namespace that takes addresses of the Internet for local.

Real servers run in it (unbound, dnsmasq, nginx, socat), each on an address of its own, and so does
netctld: world.daemon(). Nothing leaves the namespace. Routes make the addresses local and no interface has
them, since names do not admit the addresses of the host's own interfaces.
"""

import os

from .daemon import Daemon
from .namespace import Namespace
from .process import wait_for

UNBOUND = """
server:
    interface: %(addr)s
    %(more)s
    do-daemonize: no
    use-syslog: no
    log-queries: yes
    username: ""
    chroot: ""
    directory: "%(dir)s"
    pidfile: ""
    access-control: 0.0.0.0/0 allow
    num-threads: 1
    module-config: "iterator"
    do-not-query-localhost: no
remote-control:
    control-enable: no
%(zones)s
"""

NGINX = """
daemon off;
pid %(dir)s/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path %(dir)s/tmp;
    proxy_temp_path %(dir)s/tmp;
    fastcgi_temp_path %(dir)s/tmp;
    uwsgi_temp_path %(dir)s/tmp;
    scgi_temp_path %(dir)s/tmp;
    server {
        listen 80 default_server;
        location / { return 200 "$host at $server_addr\\n"; }
    }
}
"""


class World(Namespace):
    def __init__(self, directory, addresses=()):
        super().__init__("world", directory)
        for address in addresses:
            self.sh("ip route add local %s/32 dev lo" % address)

    def daemon(self, **options):
        """A netctld that lives here."""
        return Daemon(prefix=self.nsenter, **options)

    def file(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def listens(self, addr, port, udp=False):
        """Waits until somebody has the port."""
        wait_for(lambda: "%s:%d " % (addr, port) in self.sh(
            "ss -Hln%s" % ("u" if udp else "t")) or " 0.0.0.0:%d " % port in self.sh("ss -Hlnt"),
            10, "%s:%d" % (addr, port))

    def unbound(self, addr, zones, tls=False, https=False, options=""):
        """Resolves what is in zones (name → zone file's text); with tls on port 853, too, with https
        on 443. options: more lines of its server: section."""
        text, more = "", options
        for name, content in zones.items():
            path = self.file("zone." + name, content)
            text += ("auth-zone:\n    name: \"%s\"\n    zonefile: \"%s\"\n    for-downstream: no\n"
                     "    for-upstream: yes\n    fallback-enabled: no\n" % (name, path))
        if tls:
            self.certificate("dot", "dns.example.org")
            more += ("\n    interface: %s@853\n    tls-port: 853\n    tls-service-key: dot.key\n"
                     "    tls-service-pem: dot.crt" % addr)
        if https:
            self.certificate("doh", "dns.example.org")
            more += ("\n    interface: %s@443\n    https-port: 443\n    tls-service-key: doh.key\n"
                     "    tls-service-pem: doh.crt" % addr)
        config = self.file("unbound.conf", UNBOUND % {
            "addr": addr, "dir": self.directory, "zones": text, "more": more})
        server = self.popen(["unbound", "-d", "-p", "-c", config], "unbound")
        self.listens(addr, 53)
        return server

    def dnsmasq(self, addr, *options):
        """--address=/name/address and the like."""
        server = self.popen(["dnsmasq", "-k", "--no-resolv", "--no-hosts", "--log-queries",
                             "--log-facility=-", "--conf-file=/dev/null", "--bind-interfaces", "--user=",
                             "--pid-file", "--listen-address=" + addr, *options], "dnsmasq")
        self.listens(addr, 53)
        return server

    def nginx(self):
        """HTTP on port 80 of every address: says which name was asked for, and where."""
        config = self.file("nginx.conf", NGINX % {"dir": self.directory})
        server = self.popen(["nginx", "-p", self.directory, "-c", config], "nginx")
        self.listens("0.0.0.0", 80)
        return server

    def echo(self, port):
        server = self.popen(["socat", "TCP-LISTEN:%d,fork,reuseaddr" % port, "PIPE"], "echo%d" % port)
        self.listens("0.0.0.0", port)
        return server

    def certificate(self, file, name):
        """A self-signed one: FILE.key and FILE.crt in the directory."""
        self.sh("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=%s -addext"
                " subjectAltName=DNS:%s -keyout %s/%s.key -out %s/%s.crt 2>&1"
                % (name, name, self.directory, file, self.directory, file))
