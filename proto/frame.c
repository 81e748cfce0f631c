/* SPDX-License-Identifier: MIT */
/* Frames of the control protocol. See frame.h. */
#include "proto/frame.h"

#include "common/be.h"
#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the arena: what unpacking allocates, bounded, and gone at once ---- */

#define CHUNK_SIZE 16384

struct frame_chunk {
	struct frame_chunk *next;
	size_t size;
	size_t used;
	size_t total; /* of this chunk and all after it */
	_Alignas(max_align_t) uint8_t bytes[];
};

static void *arena_alloc(void *data, size_t size)
{
	struct frame_chunk **arena = data;
	struct frame_chunk *chunk = *arena;
	size_t total = chunk ? chunk->total : 0;
	void *out;

	if (size > FRAME_ARENA_MAX)
		return NULL;
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		if (total + room > FRAME_ARENA_MAX)
			return NULL;
		chunk = malloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		*chunk = (struct frame_chunk){.next = *arena, .size = room, .total = total + room};
		*arena = chunk;
	}
	out = chunk->bytes + chunk->used;
	chunk->used += size;
	return out;
}

static void arena_free_one(void *data, void *pointer)
{
	(void)data;
	(void)pointer; /* all at once, by arena_clear() */
}

static void arena_clear(struct frame_chunk **arena)
{
	while (*arena) {
		struct frame_chunk *chunk = *arena;

		*arena = chunk->next;
		os_wipe(chunk->bytes, chunk->used);
		free(chunk);
	}
}

/* ---- reading ---- */

static void close_fds(struct frame_reader *reader)
{
	for (size_t i = 0; i < reader->n_fds; i++) {
		if (reader->fds[i] >= 0)
			close(reader->fds[i]);
	}
	reader->n_fds = 0;
}

void frame_reader_next(struct frame_reader *reader)
{
	close_fds(reader);
	arena_clear(&reader->arena);
	if (reader->body) {
		os_wipe(reader->body, reader->body_got);
		free(reader->body);
	}
	memset(reader, 0, sizeof(*reader));
}

void frame_reader_clear(struct frame_reader *reader)
{
	frame_reader_next(reader);
}

void *frame_reader_room(struct frame_reader *reader, size_t *len)
{
	if (reader->head_got < FRAME_HEAD) {
		*len = FRAME_HEAD - reader->head_got;
		return reader->head + reader->head_got;
	}
	*len = reader->body_len - reader->body_got;
	return reader->body + reader->body_got;
}

static int bad(const char **why, const char *text)
{
	*why = text;
	return -EPROTO;
}

/* Takes the fds over; they must have come with the frame's first byte. */
static int take_fds(
	struct frame_reader *reader, bool first, const int *fds, size_t n_fds, const char **why)
{
	bool fits = n_fds <= FRAME_FDS_MAX - reader->n_fds;

	for (size_t i = 0; i < n_fds; i++) {
		if (fits)
			reader->fds[reader->n_fds++] = fds[i];
		else
			close(fds[i]);
	}
	if (!fits)
		return bad(why, "too many file descriptors");
	if (n_fds && !first)
		return bad(why, "file descriptors within a frame");
	return 0;
}

static int head_done(struct frame_reader *reader, const char **why)
{
	reader->body_len = load_be32(reader->head);
	if (reader->body_len > FRAME_BODY_MAX)
		return bad(why, "frame too long");
	if (!reader->body_len)
		return 0;
	reader->body = malloc(reader->body_len);
	if (!reader->body) {
		*why = "out of memory";
		return -ENOMEM;
	}
	return 0;
}

static int unpack(struct frame_reader *reader, Netdp__Envelope **env, const char **why)
{
	ProtobufCAllocator allocator = {arena_alloc, arena_free_one, &reader->arena};
	uint8_t none = 0;

	*env = netdp__envelope__unpack(
		&allocator, reader->body_len, reader->body ? reader->body : &none);
	if (!*env)
		return bad(why, "not an envelope");
	if ((*env)->fds != reader->n_fds)
		return bad(why, "file descriptors not as many as said");
	return 1;
}

int frame_reader_fed(struct frame_reader *reader, size_t n, const int *fds, size_t n_fds,
	Netdp__Envelope **env, const char **why)
{
	int err = take_fds(reader, reader->head_got == 0, fds, n_fds, why);

	if (err < 0)
		return err;
	if (reader->head_got < FRAME_HEAD) {
		reader->head_got += n;
		if (reader->head_got < FRAME_HEAD)
			return 0;
		err = head_done(reader, why);
		if (err < 0)
			return err;
	} else {
		reader->body_got += n;
	}
	return reader->body_got < reader->body_len ? 0 : unpack(reader, env, why);
}

/* ---- writing ---- */

uint8_t *frame_pack(const Netdp__Envelope *env, size_t *len, int *err)
{
	size_t body = netdp__envelope__get_packed_size(env);
	uint8_t *frame;

	if (body > FRAME_BODY_MAX) {
		*err = -EMSGSIZE;
		return NULL;
	}
	frame = malloc(FRAME_HEAD + body);
	if (!frame) {
		*err = -ENOMEM;
		return NULL;
	}
	store_be32(frame, (uint32_t)body);
	netdp__envelope__pack(env, frame + FRAME_HEAD);
	*len = FRAME_HEAD + body;
	return frame;
}

void frame_free(uint8_t *frame, size_t len)
{
	if (!frame)
		return;
	os_wipe(frame, len);
	free(frame);
}
