/* SPDX-License-Identifier: MIT */
/* Handed directories. See place.h. */
#include "ctl/place.h"

#include "common/os.h"

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
	if (!err)
		*place = taken;
	return err;
}

int place_copy(const struct place *from, struct place *to)
{
	int directory = os_dup(from->directory);

	if (directory < 0)
		return directory;
	*to = *from;
	to->directory = directory;
	return 0;
}

int place_connect(const struct place *place, const char *name)
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
