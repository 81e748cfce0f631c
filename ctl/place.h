/* SPDX-License-Identifier: MIT */
/*
 * A directory that somebody handed over by attach.sock, so that we may connect to a socket in it
 * whenever a guest asks, as often as its server is made anew.
 *
 * Nobody borrows our access to files by that: each connect is judged by the user and groups of who
 * handed the directory over (search on the directory, write on the socket, both by their modes), and
 * a name is one of that directory's own sockets, no link to elsewhere.
 *
 * Whose rights these are is kept with the directory's path: so a later netctld, or this one when the
 * directory was made anew, goes there step by step with the same rights (search on each directory).
 */
#ifndef CTL_PLACE_H
#define CTL_PLACE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define PLACE_GROUPS_MAX 64
#define PLACE_PATH_LEN 1024

struct place {
	int directory;             /* -1: not open */
	char path[PLACE_PATH_LEN]; /* its own, without links; "" where that is not known */
	uid_t uid;
	gid_t gids[PLACE_GROUPS_MAX];
	size_t n_gids;
};

void place_init(struct place *place);
/* directory, taken on success, from the far end of the unix socket `client`. 0, -ENOTDIR, -EACCES:
 * that one may not search it, or another errno. */
int place_take(struct place *place, int directory, int client);
bool place_known(const struct place *place);
/* As the store keeps it; 0 or -1 to read it back. */
struct json_object *place_json(const struct place *place);
int place_read(struct json_object *doc, struct place *place);
int place_copy(const struct place *from, struct place *to);
void place_drop(struct place *place);

/* A non-blocking stream socket, connected, or a negative errno: -EAGAIN, its backlog is full now;
 * -ENOTSOCK; -EACCES. */
int place_connect(const struct place *place, const char *name);

/* ---- place_linux.c, place_darwin.c ---- */

/* The groups of a unix socket's far end, at most PLACE_GROUPS_MAX: 0 or -errno. */
int place_peer_groups(int client, struct place *place);
/* The path of an open directory; 0 or -errno. */
int place_path(int directory, char *buf, size_t len);
/* Opens the directory `name`, no link, in another. fd or -errno. */
int place_step(int directory, const char *name);
/* Connects fd to the socket `name` where place_allows() writing to it. 0 or -errno. */
int place_connect_at(const struct place *place, const char *name, int fd);
/* Whether who handed it over has these rights (1 search, 2 write) by the file's mode. */
bool place_allows(const struct place *place, const struct stat *st, unsigned rights);

#endif
