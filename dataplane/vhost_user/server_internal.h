/* SPDX-License-Identifier: MIT */
/* What server.c, queue.c and requests.c share. Nobody else includes this. */
#ifndef DATAPLANE_VHOST_USER_SERVER_INTERNAL_H
#define DATAPLANE_VHOST_USER_SERVER_INTERNAL_H

#include "dataplane/stack/timer_wheel.h"
#include "dataplane/vhost_user/message.h"
#include "dataplane/vhost_user/server.h"

struct vhost_queue {
	struct vhost_user *owner;
	unsigned index;
	struct virtq_config config; /* as the front-end has set it; features not yet */
	bool have_addr;
	bool enabled;
	bool resume;          /* where used->idx stands, when it starts for the first time */
	int kick, call;       /* owned, or -1 */
	struct event *kicked; /* while the ring runs */
	struct task turn;
	struct timer idle; /* till what was pushed and may wait is shown */
	bool running;
	struct virtq ring;
};

struct vhost_user {
	struct loop *loop;
	const struct vhost_device *device;
	void *arg;

	int fd, listener;
	struct event *readable, *acceptable;
	struct timer accept_timer; /* ends a pause of accept after EMFILE */
	struct loop_hook flush_hook;
	struct task end_task; /* ends a failed session */
	bool failed;
	bool changed; /* since the device was told of the session */
	char why[128];

	/* the session */
	struct vhost_user_reader reader;
	uint64_t features, protocol_features;
	uint64_t status; /* virtio's device status, as the front-end tells it */
	struct guest_memory memory;
	struct vhost_queue *queue; /* device->queues of them */
};

/* queue.c */
void vhost_queue_init(struct vhost_queue *q, struct vhost_user *owner, unsigned index);
/* Starts or stops the ring as its settings ask. 0, or why it cannot run. */
int vhost_queue_update(struct vhost_queue *q);
void vhost_queue_stop(struct vhost_queue *q);
/* Stops it and forgets all that the front-end set. */
void vhost_queue_reset(struct vhost_queue *q);
void vhost_queue_set_kick(struct vhost_queue *q, int fd); /* takes fd; -1: none */
void vhost_queue_set_call(struct vhost_queue *q, int fd);
/* Shows the guest what was pushed, and interrupts it where it wants that. */
void vhost_queue_flush(struct vhost_queue *q);
/* Likewise, unless it may wait; it does not wait long. */
void vhost_queue_end_pass(struct vhost_queue *q);

/* server.c: begins a session on fd, which it takes in any case; ends the one there is. */
int vhost_user_begin(struct vhost_user *server, int fd);
void vhost_user_end(struct vhost_user *server, const char *why);
bool vhost_user_is_stream(int fd);

/* requests.c: acts on a whole message and answers it. 0, or -errno with *why: the session ends. */
int vhost_user_request(struct vhost_user *server, const char **why);
/* The features that may be acknowledged. */
uint64_t vhost_user_offered(const struct vhost_user *server);
uint64_t vhost_user_protocol_offered(void);
/* Back to how a session begins, but for the connection and what was negotiated for it. */
void vhost_user_reset(struct vhost_user *server);

#endif
