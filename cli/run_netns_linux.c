/* SPDX-License-Identifier: MIT */
/*
 * The inside of the network namespace: lo, the tap and its addresses.
 *
 * All is set by hand: COMMAND needs no DHCP client, and the data plane no lease to know it. Two
 * sysctls of the namespace are opened up since COMMAND has no capability in it: it may bind
 * ports below 1024 and send pings.
 */
#include "cli/run_linux.h"

#include "common/error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define VNET_HDR_LEN 12 /* struct virtio_net_hdr_mrg_rxbuf */

static struct ifreq request(const char *name)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	strcpy(ifr.ifr_name, name);
	return ifr;
}

static int set_up(int sock, const char *name)
{
	struct ifreq ifr = request(name);

	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* Best effort: /proc/sys may be read-only in a container. */
static void write_sysctl(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		errno = 0;
	close(fd);
}

static void open_up_sysctls(void)
{
	char text[64];

	write_sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	/* One group is what a user namespace of one mapped group takes. */
	snprintf(text, sizeof(text), "%u %u", getgid(), getgid());
	write_sysctl("/proc/sys/net/ipv4/ping_group_range", text);
	write_sysctl("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

int run_netns_open_tap(int *out, struct run_message *msg)
{
	struct ifreq ifr = request(RUN_IFNAME);
	int len = VNET_HDR_LEN;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return run_fail(msg, "/dev/net/tun: %s", errno_text(errno));
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &len) < 0 ||
		ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) {
		run_fail(msg, "tap " RUN_IFNAME ": %s", errno_text(errno));
		close(fd);
		return -1;
	}
	*out = fd;
	return 0;
}

static void put_addr(struct sockaddr *sa, struct in_addr addr)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = addr};

	memcpy(sa, &in, sizeof(in));
}

static int set_link(int sock, const struct run_net *net)
{
	static const uint8_t none[6];
	struct ifreq ifr = request(RUN_IFNAME);

	ifr.ifr_mtu = (int)net->mtu;
	if (ioctl(sock, SIOCSIFMTU, &ifr) < 0)
		return -errno;
	if (memcmp(net->mac, none, sizeof(none)) != 0) {
		ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(ifr.ifr_hwaddr.sa_data, net->mac, sizeof(net->mac));
		if (ioctl(sock, SIOCSIFHWADDR, &ifr) < 0)
			return -errno;
	}
	return set_up(sock, RUN_IFNAME);
}

static int set_addresses(int sock, const struct run_net *net)
{
	struct ifreq ifr = request(RUN_IFNAME);
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

	put_addr(&ifr.ifr_addr, net->guest);
	if (ioctl(sock, SIOCSIFADDR, &ifr) < 0)
		return -errno;
	put_addr(&ifr.ifr_netmask, net->mask);
	if (ioctl(sock, SIOCSIFNETMASK, &ifr) < 0)
		return -errno;
	put_addr(&route.rt_dst, (struct in_addr){0});
	put_addr(&route.rt_genmask, (struct in_addr){0});
	put_addr(&route.rt_gateway, net->gateway);
	return ioctl(sock, SIOCADDRT, &route) < 0 ? -errno : 0;
}

int run_netns_configure(const struct run_net *net, struct run_message *msg)
{
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (sock < 0)
		return run_fail(msg, "socket: %s", errno_text(errno));
	err = set_up(sock, "lo");
	if (err < 0)
		run_fail(msg, "lo: %s", errno_text(err));
	if (!err) {
		err = set_link(sock, net);
		if (err < 0)
			run_fail(msg, RUN_IFNAME ": MTU %u or MAC: %s", net->mtu, errno_text(err));
	}
	if (!err) {
		err = set_addresses(sock, net);
		if (err < 0)
			run_fail(msg, RUN_IFNAME ": address or route: %s", errno_text(err));
	}
	close(sock);
	if (!err)
		open_up_sysctls();
	return err ? -1 : 0;
}
