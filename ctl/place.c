/* SPDX-License-Identifier: MIT */
/* Handed directories. See place.h. */
#include "ctl/place.h"

#include "common/os.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEARCH 1u

void place_init(struct place *place)
{
	memset(place, 0, sizeof(*place));
	place->directory = -1;
}

void place_drop(struct place *place)
{
	if (place->directory >= 0)
		close(place->directory);
	place_init(place);
}

bool place_allows(const struct place *place, const struct stat *st, unsigned rights)
{
	unsigned mode = (unsigned)st->st_mode;
	bool member = false;

	if (place->uid == 0)
		return true;
	if (st->st_uid == place->uid)
		return (mode >> 6 & rights) == rights;
	for (size_t i = 0; i < place->n_gids; i++)
		member |= place->gids[i] == st->st_gid;
	return ((member ? mode >> 3 : mode) & rights) == rights;
}

static int may_search(const struct place *place)
{
	struct stat st;

	if (fstat(place->directory, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return place_allows(place, &st, SEARCH) ? 0 : -EACCES;
}

int place_take(struct place *place, int directory, int client)
{
	struct os_peer peer;
	struct place taken;
	int err = os_peer(client, &peer);

	if (err < 0)
		return err;
	place_init(&taken);
	taken.uid = peer.uid;
	err = place_peer_groups(client, &taken);
	if (err < 0 || taken.n_gids == PLACE_GROUPS_MAX) {
		taken.gids[0] = peer.gid;
		taken.n_gids = 1;
	} else {
		taken.gids[taken.n_gids++] = peer.gid;
	}
	taken.directory = directory;
	err = may_search(&taken);
	if (err < 0)
		return err;
	if (place_path(directory, taken.path, sizeof(taken.path)) < 0 || taken.path[0] != '/')
		taken.path[0] = '\0';
	*place = taken;
	return 0;
}

bool place_known(const struct place *place)
{
	return place->directory >= 0 || place->path[0];
}

int place_copy(const struct place *from, struct place *to)
{
	int directory = from->directory < 0 ? -1 : os_dup(from->directory);

	if (directory < 0 && from->directory >= 0)
		return directory;
	*to = *from;
	to->directory = directory;
	return 0;
}

/* ---- connect ---- */

static int connect_in(const struct place *place, const char *name)
{
	int err = may_search(place), fd;

	if (err < 0)
		return err;
	fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);
	if (fd < 0)
		return fd;
	err = place_connect_at(place, name, fd);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Opens the directory of a path, with its owner's rights at each step. fd or -errno. */
static int walk(const struct place *place)
{
	struct place at = *place;
	char path[PLACE_PATH_LEN], *save = NULL;
	int err;

	memcpy(path, place->path, sizeof(path));
	at.directory = os_open_directory("/");
	for (char *name = strtok_r(path, "/", &save); at.directory >= 0 && name;
		name = strtok_r(NULL, "/", &save)) {
		int next = may_search(&at);

		if (!next)
			next = place_step(at.directory, name);
		close(at.directory);
		at.directory = next;
	}
	err = at.directory < 0 ? at.directory : may_search(&at);
	if (err < 0 && at.directory >= 0)
		close(at.directory);
	return err < 0 ? err : at.directory;
}

int place_connect(const struct place *place, const char *name)
{
	struct place again = *place;
	int fd = place->directory >= 0 ? connect_in(place, name) : -ENOENT;

	if (fd != -ENOENT || !place->path[0])
		return fd;
	again.directory = walk(place);
	if (again.directory < 0)
		return again.directory;
	fd = connect_in(&again, name);
	close(again.directory);
	return fd;
}

/* ---- kept ---- */

struct json_object *place_json(const struct place *place)
{
	struct json_object *doc = json_object_new_object(), *gids = json_object_new_array();

	json_put_string(doc, "path", place->path);
	json_put_int(doc, "uid", place->uid);
	for (size_t i = 0; i < place->n_gids; i++)
		json_object_array_add(gids, json_object_new_int64(place->gids[i]));
	json_object_object_add(doc, "gids", gids);
	return doc;
}

int place_read(struct json_object *doc, struct place *place)
{
	struct json_object *gids = NULL;
	const char *path = NULL;
	int64_t uid = 0;
	struct error err;

	place_init(place);
	if (!json_object_is_type(doc, json_type_object) ||
		json_get_string(doc, "", "path", &path, &err) <= 0 ||
		strlen(path) >= sizeof(place->path) ||
		json_get_int(doc, "", "uid", 0, UINT32_MAX, &uid, &err) <= 0 ||
		json_get_array(doc, "", "gids", PLACE_GROUPS_MAX, &gids, &err) <= 0)
		return -1;
	strcpy(place->path, path);
	place->uid = (uid_t)uid;
	for (size_t i = 0; i < json_object_array_length(gids); i++)
		place->gids[place->n_gids++] = (gid_t)json_object_get_int64(
			json_object_array_get_idx(gids, i));
	return 0;
}
