/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user back-end: the VMM (front-end) connects, hands over the guest's memory and its split
 * virtqueues, and from then on the device's code here exchanges chains with the guest. It knows
 * nothing of what the device is: vsock and net bring a struct vhost_device.
 *
 * One session at a time. A ring runs while it has addresses, a kick fd and is enabled; then
 *
 *	guest kicks ── turn() ── virtq_pop(), virtq_push() ── end of the pass ── used index, one call
 *
 * turn() does one bounded slice of work and says how it ended. Chains may also be popped and pushed
 * at any other time, on the ring that vhost_user_queue() gives. What was pushed becomes visible to
 * the guest at the end of the loop's pass, with at most one interrupt a ring.
 *
 * The session outlives this process where somebody keeps what vhost_user_session() gives: the
 * successor goes on with it by vhost_user_resume(), each ring from its used->idx, and the front-end
 * sees nothing of it. Chains that were taken and not given back are taken again; hence a device
 * gives them back in order. A ring whose last pushes were not published yet is seen by the successor
 * as before them.
 *
 * A session ends by the front-end's going, by its breaking the protocol, by vhost_user_fail(), and
 * where guest memory turned out to be cut short (fault.h). The device's code then sees each ring
 * stop and the session down; a listener accepts the next front-end.
 */
#ifndef DATAPLANE_VHOST_USER_SERVER_H
#define DATAPLANE_VHOST_USER_SERVER_H

#include "dataplane/loop.h"
#include "dataplane/vhost_user/virtq.h"

#define VHOST_QUEUES_MAX 16

enum vhost_turn {
	VHOST_AGAIN,  /* there may be more chains; call again in this or the next pass */
	VHOST_EMPTY,  /* the ring is empty; call again when the guest added a chain */
	VHOST_PAUSED, /* chains are of no use now; vhost_user_want() says when */
};

struct vhost_device {
	uint64_t features;  /* of the device; those of rings and transport are added */
	unsigned queues;    /* 1 to VHOST_QUEUES_MAX */
	size_t config_size; /* bytes of configuration space, at most 256; 0: none */

	/* Fills config_size bytes. May be NULL where there are none. */
	void (*config)(void *arg, uint8_t *bytes);
	/* The ring is running and a kick came, or it started, or more was wanted. */
	enum vhost_turn (*turn)(void *arg, unsigned queue, struct virtq *ring);
	/* The ring runs from now on; turn() follows. May be NULL. */
	void (*started)(void *arg, unsigned queue, const struct virtq *ring);
	/* The ring is about to stop: give back now what was popped; it may start again later. */
	void (*stopped)(void *arg, unsigned queue, struct virtq *ring);
	/* The front-end said that the device is reset (not that its rings stop, which may mean that
	 * the guest merely pauses). Its rings were stopped before. May be NULL. */
	void (*reset)(void *arg);
	/* At the end of a pass in which what vhost_user_session() gives has changed. May be NULL. */
	void (*session)(void *arg);
	/* A front-end connected, or is gone (text says why). Must not free the server. */
	void (*changed)(void *arg, bool up, const char *text);
	/* A second front-end connected to the listener and was turned away. */
	void (*refused)(void *arg);
};

/* What a session is made of. */
struct vhost_session_queue {
	struct virtq_config
		config; /* features mean nothing; next_avail where the ring stands still */
	bool have_addr, enabled;
	int kick, call; /* or -1 */
};

struct vhost_session {
	int fd; /* the connection */
	uint64_t features, protocol_features, status;
	unsigned n_regions, n_queues;
	struct guest_range range[GUEST_REGIONS_MAX];
	int region_fd[GUEST_REGIONS_MAX];
	struct vhost_session_queue queue[VHOST_QUEUES_MAX];
};

struct vhost_user;

/* The device outlives the server. NULL without memory. */
struct vhost_user *vhost_user_new(struct loop *loop, const struct vhost_device *device, void *arg);
/* The device sees its rings stop, and nothing else. NULL is ignored. */
void vhost_user_free(struct vhost_user *server);

/*
 * Takes fd in any case: a listener, or a connection. Replaces what was attached; fd -1 only
 * detaches. 0, -EINVAL for an fd of another kind, -ENOMEM.
 */
int vhost_user_attach(struct vhost_user *server, int fd, bool listener);
/* The session as it stands; all fds stay the server's. False: there is none. */
bool vhost_user_session(const struct vhost_user *server, struct vhost_session *out);
/*
 * Goes on with a dead back-end's session in place of one that there is; a listener stays. Takes the
 * fds in any case. 0, -EINVAL: it is none that this device could have had, or another -errno.
 */
int vhost_user_resume(struct vhost_user *server, const struct vhost_session *session);
void vhost_session_close(const struct vhost_session *session);

/* Still owned by the server, or -1. */
int vhost_user_listener_fd(const struct vhost_user *server);
int vhost_user_connected_fd(const struct vhost_user *server);
void vhost_user_stop_listening(struct vhost_user *server); /* a session stays */

/* The features agreed upon, virtio's bits. */
uint64_t vhost_user_features(const struct vhost_user *server);
/* A ring while it runs, else NULL. */
struct virtq *vhost_user_queue(struct vhost_user *server, unsigned queue);
/* Call turn() as soon as the ring has more than n chains, which may be now. */
void vhost_user_want(struct vhost_user *server, unsigned queue, uint16_t n);
/* The session is of no more use (EFAULT on guest memory, say): it ends in this or the next pass. */
void vhost_user_fail(struct vhost_user *server, const char *why);

#endif
