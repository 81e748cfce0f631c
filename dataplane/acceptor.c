/* SPDX-License-Identifier: MIT */
/* Clients of listening sockets. See acceptor.h. */
#include "dataplane/acceptor.h"

#include "common/os.h"
#include "dataplane/egress/dial.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#define ACCEPT_EACH 64 /* a turn */
#define ACCEPT_PAUSE_MS 100

static void pause_accept(struct acceptor *a)
{
	if (a->paused)
		return;
	event_del(a->ready);
	a->paused = true;
}

static void resume(struct accept_group *group)
{
	struct acceptor *a;

	if (group->under_way >= ACCEPT_UNDER_WAY_MAX || timer_armed(&group->pause))
		return;
	LIST_FOREACH(a, &group->acceptors, entry) {
		if (a->paused && event_add(a->ready, NULL) == 0)
			a->paused = false;
	}
}

static void pause_over(struct timer *timer)
{
	resume((struct accept_group *)((char *)timer - offsetof(struct accept_group, pause)));
}

static void out_of_fds(struct accept_group *group)
{
	struct acceptor *a;

	counter_inc(group->counters, group->no_fds);
	LIST_FOREACH(a, &group->acceptors, entry)
		pause_accept(a);
	timer_arm(loop_wheel(group->loop), &group->pause, ACCEPT_PAUSE_MS);
}

static bool eats_reserve(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
		(rlim_t)fd + EGRESS_RESERVED_FDS >= limit.rlim_cur;
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct acceptor *a = arg;
	struct accept_group *group = a->group;

	(void)what;
	for (int i = 0; i < ACCEPT_EACH; i++) {
		struct sockaddr_storage ss = {0};
		socklen_t len = sizeof(ss);
		int fd;

		if (group->under_way >= ACCEPT_UNDER_WAY_MAX) {
			pause_accept(a);
			return;
		}
		fd = os_accept((int)listener, (struct sockaddr *)&ss, &len);
		if (fd >= 0 && eats_reserve(fd)) {
			close(fd);
			fd = -EMFILE;
		}
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
			out_of_fds(group);
			return;
		}
		if (fd == -EAGAIN)
			return;
		if (fd >= 0)
			a->client(a->arg, fd, (struct sockaddr *)&ss, len);
	}
}

void accept_group_init(struct accept_group *group, struct loop *loop, struct counters *counters,
	enum counter no_fds)
{
	*group = (struct accept_group){
		.loop = loop,
		.counters = counters,
		.no_fds = no_fds,
		.pause = {.fire = pause_over},
	};
}

void accept_group_close(struct accept_group *group)
{
	timer_disarm(loop_wheel(group->loop), &group->pause);
}

void accept_group_enter(struct accept_group *group)
{
	group->under_way++;
}

void accept_group_leave(struct accept_group *group)
{
	group->under_way--;
	resume(group);
}

int acceptor_start(struct acceptor *a, struct accept_group *group, int fd)
{
	int listening = 0, err = -EINVAL;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
		os_set_nonblock(fd, true) < 0)
		goto fail;
	err = -ENOMEM;
	a->ready = event_new(loop_base(group->loop), fd, EV_READ | EV_PERSIST, on_acceptable, a);
	if (!a->ready || event_add(a->ready, NULL) < 0)
		goto fail;
	event_priority_set(a->ready, LOOP_DATA);
	a->group = group;
	a->fd = fd;
	a->paused = false;
	LIST_INSERT_HEAD(&group->acceptors, a, entry);
	return 0;
fail:
	if (a->ready)
		event_free(a->ready);
	a->ready = NULL;
	close(fd);
	return err;
}

void acceptor_stop(struct acceptor *a)
{
	LIST_REMOVE(a, entry);
	event_free(a->ready);
	close(a->fd);
	a->ready = NULL;
	a->fd = -1;
}
