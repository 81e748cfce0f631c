/* SPDX-License-Identifier: MIT */
/*
 * What a front-end can ask for, a function each, and the table that says how such a message looks.
 *
 * What breaks the form (length, fds, a request we do not know or did not offer) ends the session.
 * A request that cannot be granted is answered by an error where the front-end asked for an answer
 * (REPLY_ACK), else it ends the session too: going on would be on a wrong footing.
 *
 * The memory table survives a reset of the device: front-ends that set it slot by slot send only
 * what changed.
 */
#include "dataplane/vhost_user/server_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BIT(n) (UINT64_C(1) << (n))

#define TRANSPORT_FEATURES                                                                         \
	(BIT(VHOST_USER_F_PROTOCOL_FEATURES) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |                  \
		BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1))

#define PROTOCOL_FEATURES                                                                          \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                    \
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |      \
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                                   \
		BIT(VHOST_USER_PROTOCOL_F_STATUS))

#define CONFIG_HLEN offsetof(struct vhost_user_config, bytes)

static int reply_u64(const struct vhost_user *s, const struct vhost_user_message *m, uint64_t v)
{
	return vhost_user_reply(s->fd, m->header.request, &v, sizeof(v));
}

static bool acked(const struct vhost_user *s, unsigned feature)
{
	return s->protocol_features >> feature & 1;
}

static bool wants_ack(const struct vhost_user *s, const struct vhost_user_message *m)
{
	return m->header.flags & VHOST_USER_NEED_REPLY && acked(s, VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

static struct vhost_queue *queue_of(struct vhost_user *s, uint64_t index)
{
	return index < s->device->queues ? &s->queue[index] : NULL;
}

/* The message's only fd, the caller's from now on; -1 where there is none. */
static int take_fd(struct vhost_user_message *m)
{
	int fd = m->n_fds ? m->fds[0] : -1;

	if (m->n_fds)
		m->fds[0] = -1;
	return fd;
}

/* ---- features, status ---- */

static int nothing(struct vhost_user *s, struct vhost_user_message *m)
{
	(void)s;
	(void)m;
	return 0;
}

uint64_t vhost_user_offered(const struct vhost_user *s)
{
	return s->device->features | TRANSPORT_FEATURES;
}

uint64_t vhost_user_protocol_offered(void)
{
	return PROTOCOL_FEATURES;
}

static int get_features(struct vhost_user *s, struct vhost_user_message *m)
{
	return reply_u64(s, m, vhost_user_offered(s));
}

static int set_features(struct vhost_user *s, struct vhost_user_message *m)
{
	int err = 0;

	if (m->payload.u64 & ~vhost_user_offered(s))
		return -EINVAL;
	s->features = m->payload.u64;
	if (s->features & BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		return 0;
	/* Without SET_VRING_ENABLE a kick fd is all that it takes. */
	for (unsigned i = 0; i < s->device->queues && err == 0; i++) {
		s->queue[i].enabled = true;
		err = vhost_queue_update(&s->queue[i]);
	}
	return err;
}

static int get_protocol_features(struct vhost_user *s, struct vhost_user_message *m)
{
	return reply_u64(s, m, PROTOCOL_FEATURES);
}

static int set_protocol_features(struct vhost_user *s, struct vhost_user_message *m)
{
	if (m->payload.u64 & ~PROTOCOL_FEATURES)
		return -EINVAL;
	s->protocol_features = m->payload.u64;
	return 0;
}

static int get_queue_num(struct vhost_user *s, struct vhost_user_message *m)
{
	return reply_u64(s, m, s->device->queues);
}

void vhost_user_reset(struct vhost_user *s)
{
	for (unsigned i = 0; i < s->device->queues; i++)
		vhost_queue_reset(&s->queue[i]);
	s->features = s->status = 0;
}

static int reset(struct vhost_user *s, struct vhost_user_message *m)
{
	(void)m;
	vhost_user_reset(s);
	if (s->device->reset)
		s->device->reset(s->arg);
	return 0;
}

/* 0 comes where the guest resets the device, and where the VMM stops it for a pause. */
static int set_status(struct vhost_user *s, struct vhost_user_message *m)
{
	if (m->payload.u64 > UINT8_MAX)
		return -EINVAL;
	if (m->payload.u64 == 0)
		vhost_user_reset(s);
	s->status = m->payload.u64;
	return 0;
}

static int get_status(struct vhost_user *s, struct vhost_user_message *m)
{
	return reply_u64(s, m, s->status);
}

/* ---- configuration space ---- */

/* An answer without bytes says that it cannot be had. */
static int get_config(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_user_config *c = &m->payload.config;
	uint8_t bytes[VHOST_USER_CONFIG_MAX] = {0};
	size_t size = s->device->config_size;

	if (size > sizeof(bytes) || c->offset > size || c->size > size - c->offset ||
		m->header.size != CONFIG_HLEN + c->size)
		return vhost_user_reply(s->fd, m->header.request, bytes, 0);
	if (s->device->config)
		s->device->config(s->arg, bytes);
	memcpy(c->bytes, bytes + c->offset, c->size);
	return vhost_user_reply(s->fd, m->header.request, c, CONFIG_HLEN + c->size);
}

/* None of our devices has anything to write there; a guest that tries is no reason to end. */
static int set_config(struct vhost_user *s, struct vhost_user_message *m)
{
	return wants_ack(s, m) ? -EPERM : 0;
}

/* ---- memory ---- */

/* The running rings' addresses under another table. One that has none there any more stops. */
static int remap(struct vhost_user *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->device->queues; i++) {
		struct vhost_queue *q = &s->queue[i];

		if (!q->running || virtq_remap(&q->ring) == 0)
			continue;
		vhost_queue_stop(q);
		q->have_addr = false;
		err = -EINVAL;
	}
	return err;
}

static int set_mem_table(struct vhost_user *s, struct vhost_user_message *m)
{
	const struct vhost_user_mem_table *table = &m->payload.mem_table;
	struct guest_memory fresh = {0}, old;
	int err;

	if (table->count != m->n_fds ||
		m->header.size != 8 + table->count * sizeof(struct guest_range))
		return -EINVAL;
	for (unsigned i = 0; i < m->n_fds; i++) {
		int fd = m->fds[i];

		m->fds[i] = -1;
		err = guest_memory_add(&fresh, &table->range[i], fd);
		if (err < 0) {
			guest_memory_clear(&fresh);
			return err;
		}
	}
	old = s->memory;
	s->memory = fresh;
	err = remap(s);
	guest_memory_clear(&old);
	return err;
}

static int get_max_mem_slots(struct vhost_user *s, struct vhost_user_message *m)
{
	return reply_u64(s, m, GUEST_REGIONS_MAX);
}

static int add_mem_reg(struct vhost_user *s, struct vhost_user_message *m)
{
	if (m->n_fds != 1)
		return -EINVAL;
	return guest_memory_add(&s->memory, &m->payload.mem_region.range, take_fd(m));
}

static int rem_mem_reg(struct vhost_user *s, struct vhost_user_message *m)
{
	struct guest_region region;
	int err = guest_memory_take(&s->memory, &m->payload.mem_region.range, &region);

	if (err < 0)
		return err;
	err = remap(s);
	guest_region_free(&region);
	return err;
}

/* ---- rings ---- */

static int set_vring_num(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_queue *q = queue_of(s, m->payload.state.index);
	uint32_t num = m->payload.state.num;

	if (!q || q->running || num == 0 || num > VIRTQ_SIZE_MAX || (num & (num - 1)) != 0)
		return -EINVAL;
	q->config.size = num;
	return 0;
}

static int set_vring_addr(struct vhost_user *s, struct vhost_user_message *m)
{
	const struct vhost_user_vring_addr *addr = &m->payload.addr;
	struct vhost_queue *q = queue_of(s, addr->index);

	if (!q || addr->flags & VHOST_USER_VRING_LOG)
		return -EINVAL;
	/* Started again where it ran: from where it stood, at the new place. */
	vhost_queue_stop(q);
	q->config.desc_user = addr->desc_user;
	q->config.avail_user = addr->avail_user;
	q->config.used_user = addr->used_user;
	q->have_addr = true;
	return vhost_queue_update(q);
}

static int set_vring_base(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_queue *q = queue_of(s, m->payload.state.index);

	if (!q || q->running || m->payload.state.num > UINT16_MAX)
		return -EINVAL;
	q->config.next_avail = (uint16_t)m->payload.state.num;
	q->resume = false;
	return 0;
}

/* Stops the ring; it starts again with the next kick fd. */
static int get_vring_base(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_user_vring_state state = m->payload.state;
	struct vhost_queue *q = queue_of(s, state.index);

	if (!q)
		return -EINVAL;
	vhost_queue_set_kick(q, -1);
	vhost_queue_set_call(q, -1);
	state.num = q->config.next_avail;
	return vhost_user_reply(s->fd, m->header.request, &state, sizeof(state));
}

/* The queue of a message that brings its fd, or says that there is none. */
static struct vhost_queue *queue_of_fd(struct vhost_user *s, const struct vhost_user_message *m)
{
	bool none = m->payload.u64 & VHOST_USER_VRING_NO_FD;

	if (m->payload.u64 & ~(uint64_t)(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD) ||
		m->n_fds != (none ? 0 : 1))
		return NULL;
	return queue_of(s, m->payload.u64 & VHOST_USER_VRING_INDEX_MASK);
}

/* No fd would ask us to poll the ring, which we do not. */
static int set_vring_kick(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_queue *q = queue_of_fd(s, m);

	if (!q || m->n_fds == 0)
		return -EINVAL;
	vhost_queue_set_kick(q, take_fd(m));
	return vhost_queue_update(q);
}

static int set_vring_call(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_queue *q = queue_of_fd(s, m);

	if (!q)
		return -EINVAL;
	vhost_queue_set_call(q, take_fd(m));
	return 0;
}

/* What is wrong with a ring we tell by counters. */
static int set_vring_err(struct vhost_user *s, struct vhost_user_message *m)
{
	return queue_of_fd(s, m) ? 0 : -EINVAL;
}

static int set_vring_enable(struct vhost_user *s, struct vhost_user_message *m)
{
	struct vhost_queue *q = queue_of(s, m->payload.state.index);

	if (!q || m->payload.state.num > 1)
		return -EINVAL;
	q->enabled = m->payload.state.num;
	return vhost_queue_update(q);
}

/* ---- the table ---- */

struct request {
	int (*handle)(struct vhost_user *s, struct vhost_user_message *m);
	size_t min, max;  /* bytes of payload */
	unsigned fds;     /* at most */
	uint64_t feature; /* protocol feature that must have been agreed upon, as a bit; or 0 */
	bool answers;     /* with something else than success */
	const char *refused;
};

#define PAYLOAD(member) sizeof(((union vhost_user_payload *)NULL)->member)
#define REQUEST(name, fn, least, most, n_fds, bit, answered)                                       \
	[VHOST_USER_##name] = {.handle = (fn),                                                     \
		.min = (least),                                                                    \
		.max = (most),                                                                     \
		.fds = (n_fds),                                                                    \
		.feature = (bit),                                                                  \
		.answers = (answered),                                                             \
		.refused = #name " could not be granted"}
#define GET(name, fn, bit) REQUEST(name, fn, 0, 0, 0, bit, true)
#define SET(name, fn, member, n_fds, bit)                                                          \
	REQUEST(name, fn, PAYLOAD(member), PAYLOAD(member), n_fds, bit, false)

#define MQ BIT(VHOST_USER_PROTOCOL_F_MQ)
#define CONFIG BIT(VHOST_USER_PROTOCOL_F_CONFIG)
#define RESET BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE)
#define SLOTS BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
#define STATUS BIT(VHOST_USER_PROTOCOL_F_STATUS)

static const struct request requests[VHOST_USER_REQUESTS] = {
	GET(GET_FEATURES, get_features, 0),
	SET(SET_FEATURES, set_features, u64, 0, 0),
	REQUEST(SET_OWNER, nothing, 0, 0, 0, 0, false),
	REQUEST(RESET_OWNER, reset, 0, 0, 0, 0, false),
	REQUEST(SET_MEM_TABLE, set_mem_table, 8, PAYLOAD(mem_table), VHOST_USER_FDS_MAX, 0, false),
	SET(SET_VRING_NUM, set_vring_num, state, 0, 0),
	SET(SET_VRING_ADDR, set_vring_addr, addr, 0, 0),
	SET(SET_VRING_BASE, set_vring_base, state, 0, 0),
	REQUEST(GET_VRING_BASE, get_vring_base, PAYLOAD(state), PAYLOAD(state), 0, 0, true),
	SET(SET_VRING_KICK, set_vring_kick, u64, 1, 0),
	SET(SET_VRING_CALL, set_vring_call, u64, 1, 0),
	SET(SET_VRING_ERR, set_vring_err, u64, 1, 0),
	GET(GET_PROTOCOL_FEATURES, get_protocol_features, 0),
	SET(SET_PROTOCOL_FEATURES, set_protocol_features, u64, 0, 0),
	GET(GET_QUEUE_NUM, get_queue_num, MQ),
	SET(SET_VRING_ENABLE, set_vring_enable, state, 0, 0),
	REQUEST(GET_CONFIG, get_config, CONFIG_HLEN, PAYLOAD(config), 0, CONFIG, true),
	REQUEST(SET_CONFIG, set_config, CONFIG_HLEN, PAYLOAD(config), 0, CONFIG, false),
	REQUEST(RESET_DEVICE, reset, 0, 0, 0, RESET, false),
	GET(GET_MAX_MEM_SLOTS, get_max_mem_slots, SLOTS),
	SET(ADD_MEM_REG, add_mem_reg, mem_region, 1, SLOTS),
	SET(REM_MEM_REG, rem_mem_reg, mem_region, 1, SLOTS),
	SET(SET_STATUS, set_status, u64, 0, STATUS),
	GET(GET_STATUS, get_status, STATUS),
};

int vhost_user_request(struct vhost_user *s, const char **why)
{
	struct vhost_user_message *m = &s->reader.message;
	const struct request *r = m->header.request < VHOST_USER_REQUESTS
		? &requests[m->header.request]
		: NULL;
	int err;

	if (!r || !r->handle || (r->feature & ~s->protocol_features)) {
		*why = "a request that was not offered";
		return -EPROTO;
	}
	if (m->header.size < r->min || m->header.size > r->max || m->n_fds > r->fds) {
		*why = "a request of a wrong length, or with file descriptors it has no use for";
		return -EPROTO;
	}
	s->changed |= !r->answers || m->header.request == VHOST_USER_GET_VRING_BASE;
	err = r->handle(s, m);
	if (!r->answers && wants_ack(s, m))
		err = reply_u64(s, m, err < 0);
	if (err < 0)
		*why = r->refused;
	return err;
}
