/* SPDX-License-Identifier: MIT */
/*
 * The socket at which a VMM finds its guest's NIC. See vm.h.
 *
 * stream   netctld binds RUNTIME/vms/NAME/link.sock (or is handed a listener), keeps it, and gives
 *          the worker a duplicate, which accepts one VMM at a time.
 * dgram    netctld binds the socket. While it has no peer, netctld watches it: the sender of the
 *          first datagram, peeked at, is a path; the socket is connected to it and a duplicate goes
 *          to the worker, which reads that datagram too. When the peer is gone (ECONNREFUSED) the
 *          worker says so, and the socket is disconnected and watched again.
 *
 *	      WATCHED ──── first datagram, connect(2) ────► CONNECTED (worker reads)
 *	         ▲                                              │
 *	         └───────── LinkReturned, AF_UNSPEC ────────────┘
 *
 * attach   the NIC itself comes by attach.sock: a tap, or one end of a socketpair.
 */
#include "ctl/vm.h"

#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <event2/event.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PEEKS 64 /* datagrams of nobody that a turn drops */

static void directory_of(const struct vm *vm, char *buf, size_t len)
{
	snprintf(buf, len, "%s/vms/%s", vm->vms->runtime_dir, vm->config.name);
}

static int make_directory(struct vm *vm, struct error *err)
{
	char path[VM_PATH_LEN + VM_NAME_MAX];

	directory_of(vm, path, sizeof(path));
	if (mkdir(path, 0750) < 0) {
		if (errno == EEXIST)
			return 0;
		return error_set(err, 500, NULL, "VM %s: directory %s: %s", vm->config.name, path,
			errno_text(errno));
	}
	chmod(path, 0750); /* whatever our umask */
	if (vm->vms->group != (gid_t)-1 && chown(path, (uid_t)-1, vm->vms->group) < 0)
		log_debug(vm->config.name, "chown.failed", "path=%s", path);
	return 0;
}

static int bind_link(struct vm *vm, int type, struct error *err)
{
	int fd = unix_listen(vm->config.path, type, 0660);

	if (fd < 0) {
		int status = fd == -EADDRINUSE || fd == -EEXIST ? 409 : fd == -EACCES ? 403 : 500;

		snprintf(vm->link_error, sizeof(vm->link_error), "link %s: %s", vm->config.path,
			fd == -EEXIST ? "a file is in the way" : errno_text(fd));
		return error_set(
			err, status, "link.path", "VM %s: %s", vm->config.name, vm->link_error);
	}
	if (vm->vms->group != (gid_t)-1 && chown(vm->config.path, (uid_t)-1, vm->vms->group) < 0)
		log_debug(vm->config.name, "chown.failed", "path=%s", vm->config.path);
	vm->link_error[0] = '\0';
	return fd;
}

/* ---- dgram: the peer ---- */

static void refuse(struct vm *vm, const char *text)
{
	static const char *const type = "link.refused";

	vm_event(vm, type, vm_event_reason(text));
}

/* Drops the datagram at the head of the queue. */
static void drop_datagram(struct vm *vm)
{
	char byte;

	if (recv(vm->bound, &byte, 1, MSG_DONTWAIT) < 0)
		return;
}

/* 1 with the socket connected to its first sender, 0 where nobody is there. */
static int find_peer(struct vm *vm)
{
	for (int i = 0; i < PEEKS; i++) {
		struct sockaddr_un from;
		socklen_t len = sizeof(from);
		char byte;

		if (recvfrom(vm->bound, &byte, 1, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from,
			    &len) < 0)
			return 0;
		if (len <= offsetof(struct sockaddr_un, sun_path)) {
			if (i == 0)
				refuse(vm, "datagram of a sender without an address");
		} else if (connect(vm->bound, (struct sockaddr *)&from, len) == 0) {
			return 1;
		}
		drop_datagram(vm);
	}
	return 0;
}

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct vm *vm = arg;

	(void)fd;
	(void)what;
	if (!find_peer(vm))
		return;
	event_del(vm->peek);
	vm->bound_peer = true;
	vm_link_push(vm, NULL);
}

static void watch(struct vm *vm)
{
	if (!vm->peek)
		vm->peek = event_new(
			vm->vms->base, vm->bound, EV_READ | EV_PERSIST, on_datagram, vm);
	if (vm->peek)
		event_add(vm->peek, NULL);
}

/* Takes a bound socket, connected to its peer or not. */
static void take_bound(struct vm *vm, int fd)
{
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);
	int send_size = 1 << 20, receive_size = 4 << 20;

	/* macOS's datagram sockets hold 2 KiB unless told; elsewhere more room only helps. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_size, sizeof(send_size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_size, sizeof(receive_size));
	vm->bound = fd;
	vm->bound_peer = getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
	if (!vm->bound_peer)
		watch(vm);
}

void vm_link_returned(struct vm *vm)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (vm->bound < 0) {
		if (vm->nic >= 0)
			close(vm->nic);
		vm->nic = -1;
		vm->nic_kind = WORKER_LINK_NONE;
		return;
	}
	if (!vm->bound_peer)
		return;
	if (connect(vm->bound, &none, sizeof(none)) < 0 && errno != EAFNOSUPPORT)
		log_warn(vm->config.name, "link.disconnect", "reason=\"%s\"", errno_text(errno));
	vm->bound_peer = false;
	watch(vm);
}

/* ---- open, close ---- */

int vm_link_open(struct vm *vm, struct error *err)
{
	int fd;

	if (vm->listener >= 0 || vm->bound >= 0)
		return 0;
	if (make_directory(vm, err) < 0)
		return -1;
	if (vm->config.link != VM_LINK_STREAM && vm->config.link != VM_LINK_DGRAM)
		return 0;
	if (vm->config.handed)
		return 0;
	fd = bind_link(vm, vm->config.link == VM_LINK_STREAM ? SOCK_STREAM : SOCK_DGRAM, err);
	if (fd < 0)
		return -1;
	if (vm->config.link == VM_LINK_STREAM)
		vm->listener = fd;
	else
		take_bound(vm, fd);
	return 0;
}

void vm_link_close(struct vm *vm, bool remove)
{
	bool ours = vm->listener >= 0 || vm->bound >= 0;
	char path[VM_PATH_LEN + VM_NAME_MAX];

	if (vm->peek)
		event_free(vm->peek);
	vm->peek = NULL;
	if (vm->listener >= 0)
		close(vm->listener);
	if (vm->bound >= 0)
		close(vm->bound);
	if (vm->nic >= 0)
		close(vm->nic);
	if (vm->vmm >= 0)
		close(vm->vmm);
	vm->listener = vm->bound = vm->nic = vm->vmm = -1;
	if (!remove)
		return;
	if (ours && !vm->config.handed)
		unlink(vm->config.path);
	directory_of(vm, path, sizeof(path));
	rmdir(path);
}

/* ---- to the worker ---- */

/* The VMM stays connected to nobody if this fails: let it see that, and connect again. */
static void on_link_resumed(void *arg, int code, const char *text)
{
	(void)arg;
	if (code && code != -ECONNRESET && code != -ECANCELED)
		log_warn("link", "link.not_resumed", "reason=\"%s\"", text);
}

static void on_link_set(void *arg, int code, const char *text)
{
	if (code && code != -ECONNRESET && code != -ECANCELED)
		log_error("link", "link.failed", "reason=\"%s\"", text);
	completion_done(arg, code, text);
}

void vm_link_push(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	uint32_t mtu;

	if (!client)
		return;
	if (vm->listener >= 0) {
		mtu = vm_config_mtu(&vm->config, false);
		worker_client_link_set(client, WORKER_LINK_STREAM, vm->listener, true, mtu,
			on_link_set, completion_more(wait));
		if (vm->vmm >= 0)
			worker_client_link_resume(client, vm->vmm, mtu, on_link_resumed, NULL);
	} else if (vm->bound >= 0 && vm->bound_peer) {
		mtu = vm_config_mtu(&vm->config, true);
		worker_client_link_set(client, WORKER_LINK_DGRAM, vm->bound, false, mtu,
			on_link_set, completion_more(wait));
	} else if (vm->nic >= 0 && vm->nic_kind == WORKER_LINK_STREAM && vm->nic_served) {
		mtu = vm_config_mtu(&vm->config, false);
		worker_client_link_resume(client, vm->nic, mtu, on_link_set, completion_more(wait));
	} else if (vm->nic >= 0) {
		mtu = vm_config_mtu(&vm->config, vm->nic_kind == WORKER_LINK_DGRAM);
		worker_client_link_set(client, vm->nic_kind, vm->nic, false, mtu, on_link_set,
			completion_more(wait));
	}
}

void vm_link_changed(struct vm *vm, bool up)
{
	vm->link_up = up;
	if (up)
		vm->nic_served = vm->nic >= 0;
	if (!up && vm->vmm >= 0) {
		close(vm->vmm);
		vm->vmm = -1;
	}
	/* The peer of a socketpair that went never comes back; a tap may only have been set down. */
	if (!up && vm->nic >= 0 && vm->nic_kind != WORKER_LINK_TAP) {
		close(vm->nic);
		vm->nic = -1;
		vm->nic_kind = WORKER_LINK_NONE;
	}
	vm_ttl_start(vm);
}

void vm_link_orphaned(struct vm *vm)
{
	vm->link_up = false;
	vm_ttl_start(vm);
}

/* ---- handed over ---- */

int vm_link_attach(struct vm *vm, enum worker_link_kind kind, int fd, struct completion *wait,
	struct error *err)
{
	int status;

	if (vm->config.link != VM_LINK_ATTACH)
		return error_set(err, 409, "vm", "VM %s: its link is of kind %s, not attach",
			vm->config.name, vm_link_name(vm->config.link));
	if (vm->nic >= 0 && (vm->link_up || vm->nic_kind != WORKER_LINK_TAP))
		return error_set(err, 409, "vm", "VM %s: link in use", vm->config.name);
	status = os_set_nonblock(fd, true);
	if (status < 0)
		return error_set(err, 400, "fd", "VM %s: %s", vm->config.name, errno_text(status));
	if (vm->nic >= 0)
		close(vm->nic);
	vm->nic = fd;
	vm->nic_kind = kind;
	vm->nic_served = false;
	vm_worker_want(vm);
	vm_link_push(vm, wait);
	return 0;
}

/* Whether fd is a unix socket of this type, bound to this path. */
static bool is_bound_to(int fd, int type, bool listening, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(at);
	int got = 0;
	socklen_t got_len = sizeof(got);

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 || at.sun_family != AF_UNIX)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &got_len) < 0 || got != type)
		return false;
	got_len = sizeof(got);
	if (listening && (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &got, &got_len) < 0 || !got))
		return false;
	return !path || strncmp(at.sun_path, path, sizeof(at.sun_path)) == 0;
}

int vm_link_listen(struct vm *vm, enum vm_link kind, const char *path, int fd,
	struct completion *wait, struct error *err)
{
	char what[64];

	if (!vm->config.handed || vm->config.link != kind)
		return error_set(err, 409, "vm",
			"VM %s: its link is of kind %s%s, not %s handed over", vm->config.name,
			vm_link_name(vm->config.link), vm->config.handed ? " handed over" : "",
			vm_link_name(kind));
	if (strcmp(path, vm->config.path) != 0)
		return error_set(err, 409, "path", "VM %s: its link is at %s", vm->config.name,
			vm->config.path);
	if (vm->link_up)
		return error_set(err, 409, "vm", "VM %s: link in use", vm->config.name);
	if (kind == VM_LINK_STREAM ? !is_bound_to(fd, SOCK_STREAM, true, NULL)
				   : !is_bound_to(fd, SOCK_DGRAM, false, NULL))
		return error_set(err, 400, "fd", "VM %s: the fd is %s, not a %s", vm->config.name,
			listener_describe(fd, what, sizeof(what)),
			kind == VM_LINK_STREAM ? "listening unix stream socket"
					       : "bound unix datagram socket");
	os_set_nonblock(fd, true);
	vm_link_close(vm, false);
	if (kind == VM_LINK_STREAM)
		vm->listener = fd;
	else
		take_bound(vm, fd);
	vm_worker_want(vm);
	vm_link_push(vm, wait);
	return 0;
}

static int take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void vm_link_connected(struct vm *vm, int *connected)
{
	if (vm->config.link != VM_LINK_STREAM || *connected < 0 ||
		!is_bound_to(*connected, SOCK_STREAM, false, NULL))
		return;
	if (vm->vmm >= 0)
		close(vm->vmm);
	vm->vmm = take(connected);
}

void vm_link_adopt(struct vm *vm, enum worker_link_kind kind, int *listener, int *connected)
{
	const char *path = vm->config.handed ? NULL : vm->config.path;

	if (vm->config.link == VM_LINK_STREAM && vm->listener < 0 && *listener >= 0 &&
		is_bound_to(*listener, SOCK_STREAM, true, path))
		vm->listener = take(listener);
	if (vm->config.link == VM_LINK_DGRAM && vm->bound < 0 && *connected >= 0 &&
		is_bound_to(*connected, SOCK_DGRAM, false, path))
		take_bound(vm, take(connected));
	if (vm->config.link == VM_LINK_STREAM)
		vm_link_connected(vm, connected);
	if (vm->config.link == VM_LINK_ATTACH && vm->nic < 0 && *connected >= 0) {
		vm->nic = take(connected);
		vm->nic_served = true;
		vm->nic_kind = kind;
	}
	if (vm->listener >= 0 || vm->bound >= 0)
		vm->link_error[0] = '\0';
}
