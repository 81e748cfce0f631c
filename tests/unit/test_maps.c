/* SPDX-License-Identifier: MIT */
/* Maps: what is read, what a worker's dial leads to, whose rights count, and what is kept. */
#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

#include <fcntl.h>
#include <netinet/in.h>

#define VM "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}"
#define BELOW "%s/vms/web/%s"

static struct vm_rig rig;
static struct vm *vm;
static struct error err;

static void set_up(void)
{
	vm_rig_start(&rig);
	vm = vm_rig_vm(&rig, VM);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
}

static void tear_down(void)
{
	vm_rig_stop(&rig);
}

static int read_map(const char *text, struct map_spec *spec)
{
	struct json_object *doc = json_tokener_parse(text);
	int status;

	ck_assert_ptr_nonnull(doc);
	memset(&err, 0, sizeof(err));
	status = map_spec_read(doc, "", false, spec, &err);
	json_object_put(doc);
	return status;
}

/* The status of adding it, 0 where that went well. */
static int add(const char *text, struct place *handed, bool *is_new)
{
	struct map_spec spec;
	struct map *made;

	ck_assert_msg(read_map(text, &spec) == 0, "%s: %s", text, err.text);
	spec.handed = handed != NULL;
	return vm_map_add(vm, &spec, handed, &made, is_new, NULL, &err) < 0 ? err.status : 0;
}

static void add_unix(uint32_t port, const char *name)
{
	char text[256];
	bool is_new;

	snprintf(text, sizeof(text), "{\"port\":%u,\"to\":{\"unix\":\"" BELOW "\"}}", port, rig.dir,
		name);
	ck_assert_msg(add(text, NULL, &is_new) == 0, "%s", err.text);
	ck_assert(is_new);
}

/* What the worker gets: 0 with rig.answer_fd, or a negative errno. */
static int dial(bool vmm, uint32_t port)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;

	msg.vmm = vmm;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	return vm_rig_asked(&rig, &env);
}

START_TEST(bad_documents_name_the_field)
{
	static const struct {
		const char *text, *field;
	} bad[] = {
		{"{\"to\":{\"tcp\":\"1.2.3.4:5\"}}", "port"},
		{"{\"port\":0,\"to\":{\"tcp\":\"1.2.3.4:5\"}}", "port"},
		{"{\"port\":620,\"to\":{\"tcp\":\"1.2.3.4:5\"}}", "port"},
		{"{\"port\":1026,\"to\":{\"tcp\":\"1.2.3.4:5\"}}", "port"},
		{"{\"port\":4294967295,\"to\":{\"tcp\":\"1.2.3.4:5\"}}", "port"},
		{"{\"port\":5}", "to"},
		{"{\"port\":5,\"to\":{}}", "to"},
		{"{\"port\":5,\"to\":{\"tcp\":\"1.2.3.4:5\",\"unix\":\"/p\"}}", "to"},
		{"{\"port\":5,\"to\":{\"udp\":\"1.2.3.4:5\"}}", "to.udp"},
		{"{\"port\":5,\"to\":{\"tcp\":\"1.2.3.4\"}}", "to.tcp"},
		{"{\"port\":5,\"to\":{\"tcp\":\"1.2.3.4:0\"}}", "to.tcp"},
		{"{\"port\":5,\"to\":{\"tcp\":\"0.0.0.0:5\"}}", "to.tcp"},
		{"{\"port\":5,\"to\":{\"unix\":\"p.sock\"}}", "to.unix"},
		{"{\"port\":5,\"to\":{\"unix\":\"/directory/\"}}", "to.unix"},
		{"{\"port\":5,\"to\":{\"unix\":\"/p\"},\"handed\":true}", "handed"},
	};
	struct map_spec spec;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ck_assert_msg(read_map(bad[i].text, &spec) < 0, "%s", bad[i].text);
		ck_assert_msg(
			strcmp(err.field, bad[i].field) == 0, "%s: %s", bad[i].text, err.field);
		ck_assert_int_eq(err.status, 400);
	}
}
END_TEST

START_TEST(same_again_is_no_news_and_other_is_in_the_way)
{
	bool is_new;

	ck_assert_int_eq(add("{\"port\":5,\"to\":{\"tcp\":\"[::1]:5\"}}", NULL, &is_new), 0);
	ck_assert(is_new);
	ck_assert_int_eq(add("{\"port\":5,\"to\":{\"tcp\":\"[::1]:5\"}}", NULL, &is_new), 0);
	ck_assert(!is_new);
	ck_assert_int_eq(add("{\"port\":5,\"to\":{\"tcp\":\"[::1]:6\"}}", NULL, &is_new), 409);
	ck_assert_uint_eq(vm->n_maps, 1);
}
END_TEST

START_TEST(at_most_256)
{
	char text[80];
	bool is_new;

	for (unsigned i = 1; i <= MAPS_MAX; i++) {
		snprintf(text, sizeof(text), "{\"port\":%u,\"to\":{\"tcp\":\"127.0.0.1:9\"}}", i);
		ck_assert_int_eq(add(text, NULL, &is_new), 0);
	}
	ck_assert_int_eq(
		add("{\"port\":9999,\"to\":{\"tcp\":\"127.0.0.1:9\"}}", NULL, &is_new), 409);
}
END_TEST

START_TEST(paths_elsewhere_are_not_reached_by_http)
{
	char text[160];
	bool is_new;

	ck_assert_int_eq(
		add("{\"port\":5,\"to\":{\"unix\":\"/var/run/docker.sock\"}}", NULL, &is_new), 400);
	snprintf(text, sizeof(text), "{\"port\":5,\"to\":{\"unix\":\"" BELOW "\"}}", rig.dir,
		"../../netctl.db");
	ck_assert_int_eq(add(text, NULL, &is_new), 400);
}
END_TEST

START_TEST(vm_without_vsock_has_no_maps)
{
	bool is_new;

	vm = vm_rig_vm(&rig, "{\"name\":\"bare\"}");
	ck_assert_int_eq(add("{\"port\":5,\"to\":{\"tcp\":\"127.0.0.1:5\"}}", NULL, &is_new), 409);
}
END_TEST

START_TEST(dial_reaches_a_unix_service)
{
	int service = vm_rig_listen(&rig, vm, "service.sock");

	add_unix(5000, "service.sock");
	ck_assert_int_eq(dial(false, 5000), 0);
	ck_assert_int_eq(rig.answer_body, NETDP__ENVELOPE__BODY_VSOCK_DIALED);
	ck_assert(!rig.answer_tcp);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	close(service);
}
END_TEST

START_TEST(dial_reaches_a_tcp_service)
{
	struct endpoint at = {0};
	char text[128], addr[ENDPOINT_STRLEN];
	bool is_new;
	int service;

	addr_parse("127.0.0.1", &at.addr);
	service = listener_open(LISTENER_TCP, &at);
	snprintf(text, sizeof(text), "{\"port\":5001,\"to\":{\"tcp\":\"%s\"}}",
		endpoint_format(&at, addr, sizeof(addr)));
	ck_assert_int_eq(add(text, NULL, &is_new), 0);
	ck_assert_int_eq(dial(false, 5001), 0);
	ck_assert(rig.answer_tcp);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	close(service);
	ck_assert_int_eq(dial(false, 5001), -ECONNREFUSED);
}
END_TEST

START_TEST(dial_reaches_who_listens_beside_the_host_socket)
{
	int neighbour = vm_rig_listen(&rig, vm, "vsock.sock_7000");

	ck_assert_int_eq(dial(false, 7000), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, neighbour));
	close(neighbour);
}
END_TEST

START_TEST(map_wins_over_a_neighbour)
{
	int service = vm_rig_listen(&rig, vm, "service.sock");
	int neighbour = vm_rig_listen(&rig, vm, "vsock.sock_5000");

	add_unix(5000, "service.sock");
	ck_assert_int_eq(dial(false, 5000), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	close(service);
	close(neighbour);
}
END_TEST

START_TEST(dial_to_nobody_says_so)
{
	add_unix(5000, "absent.sock");
	ck_assert_int_eq(dial(false, 5000), -ENOENT);
	ck_assert_int_eq(dial(false, 5001), -ENOENT);
	ck_assert_int_eq(dial(true, 0), -EINVAL); /* a stream's VMM has no socket */
	close(vm_rig_listen(&rig, vm, "dead.sock"));
	add_unix(5002, "dead.sock");
	ck_assert_int_eq(dial(false, 5002), -ECONNREFUSED);
}
END_TEST

/* A service that does not accept must not hold the loop, nor more than so many of our fds. */
START_TEST(full_backlog_waits_and_a_flood_is_refused)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;
	char path[160];
	int service, fd, waiting[8], n = 0;

	snprintf(path, sizeof(path), BELOW, rig.dir, "slow.sock");
	service = vm_rig_listen(&rig, vm, "slow.sock");
	listen(service, 0);
	while (n < 8 && (fd = unix_connect(path, SOCK_STREAM, 0, true)) >= 0)
		waiting[n++] = fd;
	ck_assert_int_lt(n, 8);
	add_unix(5000, "slow.sock");
	msg.port = 5000;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	for (int i = 0; i < WORKER_DIALS_MAX; i++)
		vm_rig_ask(&rig, &env);
	ck_assert_int_eq(vm_rig_asked(&rig, &env), -EAGAIN);
	ck_assert_uint_eq(rig.answers, 1);
	for (int i = 0; i < n; i++)
		close(os_accept(service, NULL, NULL));
	RIG_WAIT(&rig, rig.answers > 1);
	ck_assert_int_eq(rig.status, 0);
	/* The worker dies with dials under way: nobody is answered, nothing is touched. */
	vm_rig_death(&rig, vm);
	ck_assert(TAILQ_EMPTY(&vm->dials));
	while (n)
		close(waiting[--n]);
	close(service);
}
END_TEST

START_TEST(dial_under_way_outlives_its_map_but_not_its_vm)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;
	int service = vm_rig_listen(&rig, vm, "service.sock");

	add_unix(5000, "service.sock");
	msg.port = 5000;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	vm_rig_ask(&rig, &env);
	RIG_WAIT(&rig, !TAILQ_EMPTY(&vm->dials) || rig.answers);
	ck_assert_int_eq(vm_map_delete(vm, vm_map_find(vm, 5000), NULL, &err), 0);
	RIG_WAIT(&rig, rig.answers == 1);
	ck_assert_int_eq(rig.status, 0);
	vm_rig_ask(&rig, &env);
	ck_assert_int_eq(vm_delete(vm, NULL, NULL, &err), 0);
	vm_rig_turn(&rig);
	close(service);
}
END_TEST

/* ---- places ---- */

/* The directory of `rig`, as somebody of this user would have handed it over. */
static struct place place_of(uid_t uid, gid_t gid)
{
	struct place place;

	place_init(&place);
	place.directory = os_open_directory(rig.dir);
	ck_assert_int_ge(place.directory, 0);
	strcpy(place.path, rig.dir);
	place.uid = uid;
	place.gids[0] = gid;
	place.n_gids = 1;
	return place;
}

START_TEST(handed_directory_is_connected_in_with_its_owners_rights)
{
	struct place place = place_of(getuid(), getgid());
	char path[128], link[128];
	int service;

	snprintf(path, sizeof(path), "%s/s.sock", rig.dir);
	snprintf(link, sizeof(link), "%s/link.sock", rig.dir);
	service = unix_listen(path, SOCK_STREAM, 0600);
	ck_assert_int_eq(symlink(path, link), 0);
	ck_assert_int_ge(place_connect(&place, "s.sock"), 0);
	ck_assert_int_eq(place_connect(&place, "absent.sock"), -ENOENT);
	ck_assert_int_eq(place_connect(&place, "netctl.db"), -ENOTSOCK);
	ck_assert_int_lt(place_connect(&place, "link.sock"), 0);
	/* Another user: neither the directory (0700) nor the socket is hers. */
	place.uid = 54321;
	place.gids[0] = 54321;
	chmod(path, 0602);
	ck_assert_int_eq(place_connect(&place, "s.sock"), -EACCES);
	chmod(path, 0600);
	chmod(rig.dir, 0711);
	ck_assert_int_eq(place_connect(&place, "s.sock"), -EACCES);
	chmod(path, 0602);
	ck_assert_int_ge(place_connect(&place, "s.sock"), 0);
	/* By a group of hers. */
	chmod(path, 0620);
	ck_assert_int_eq(place_connect(&place, "s.sock"), -EACCES);
	place.gids[place.n_gids++] = getgid();
	ck_assert_int_ge(place_connect(&place, "s.sock"), 0);
	place_drop(&place);
	close(service);
}
END_TEST

START_TEST(what_is_handed_must_be_a_directory)
{
	struct place place;
	int pair[2], file;

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(place_take(&place, file, pair[0]), -ENOTDIR);
	close(file);
	ck_assert_int_eq(place_take(&place, os_open_directory(rig.dir), pair[0]), 0);
	ck_assert_uint_eq(place.uid, getuid());
	ck_assert_uint_ge(place.n_gids, 1);
	place_drop(&place);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(handed_map_is_dialled_and_found_again)
{
	struct place place = place_of(getuid(), getgid());
	struct json_object *doc;
	char path[128], text[256];
	bool is_new;
	int service;

	snprintf(path, sizeof(path), "%s/s.sock", rig.dir);
	service = unix_listen(path, SOCK_STREAM, 0600);
	snprintf(text, sizeof(text), "{\"port\":5000,\"to\":{\"unix\":\"%s\"}}", path);
	ck_assert_int_eq(add(text, &place, &is_new), 0);
	ck_assert_int_eq(dial(false, 5000), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	/* A netctld that reads the store anew has no open directory, but the same rights. */
	vm_maps_free(vm);
	ck_assert_int_eq(vm_maps_restore(vm, &err), 0);
	ck_assert_uint_eq(vm->n_maps, 1);
	ck_assert_int_eq(vm_map_find(vm, 5000)->place.directory, -1);
	ck_assert_int_eq(dial(false, 5000), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	/* Without them it stands with an error, and can be mapped again. */
	place_init(&vm_map_find(vm, 5000)->place);
	doc = map_json(vm_map_find(vm, 5000));
	ck_assert(json_object_object_get_ex(doc, "error", NULL));
	json_object_put(doc);
	ck_assert_int_eq(dial(false, 5000), -ENOENT);
	place = place_of(getuid(), getgid());
	ck_assert_int_eq(add(text, &place, &is_new), 0);
	ck_assert(!is_new);
	ck_assert_int_eq(dial(false, 5000), 0);
	close(service);
}
END_TEST

/* By its path a directory is found with its owner's rights at each step, and by no link. */
START_TEST(path_of_a_place_is_walked_with_its_owners_rights)
{
	struct place place = place_of(getuid(), getgid());
	char path[128], link[128];
	int service;

	close(place.directory);
	place.directory = -1;
	snprintf(path, sizeof(path), "%s/d", rig.dir);
	ck_assert_int_eq(mkdir(path, 0777), 0);
	chmod(path, 0777);
	snprintf(link, sizeof(link), "%s/l", rig.dir);
	ck_assert_int_eq(symlink(path, link), 0);
	snprintf(place.path, sizeof(place.path), "%s", path);
	snprintf(path, sizeof(path), "%s/d/s.sock", rig.dir);
	service = unix_listen(path, SOCK_STREAM, 0777);
	chmod(path, 0777);
	ck_assert_int_ge(place_connect(&place, "s.sock"), 0);
	place.uid = 54321; /* rig.dir is 0700 */
	place.gids[0] = 54321;
	ck_assert_int_eq(place_connect(&place, "s.sock"), -EACCES);
	chmod(rig.dir, 0711);
	ck_assert_int_ge(place_connect(&place, "s.sock"), 0);
	snprintf(place.path, sizeof(place.path), "%s", link);
	ck_assert_int_lt(place_connect(&place, "s.sock"), 0);
	close(service);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("maps");
	TCase *tc = tcase_create("maps");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, bad_documents_name_the_field);
	tcase_add_test(tc, same_again_is_no_news_and_other_is_in_the_way);
	tcase_add_test(tc, at_most_256);
	tcase_add_test(tc, paths_elsewhere_are_not_reached_by_http);
	tcase_add_test(tc, vm_without_vsock_has_no_maps);
	tcase_add_test(tc, dial_reaches_a_unix_service);
	tcase_add_test(tc, dial_reaches_a_tcp_service);
	tcase_add_test(tc, dial_reaches_who_listens_beside_the_host_socket);
	tcase_add_test(tc, map_wins_over_a_neighbour);
	tcase_add_test(tc, dial_to_nobody_says_so);
	tcase_add_test(tc, full_backlog_waits_and_a_flood_is_refused);
	tcase_add_test(tc, dial_under_way_outlives_its_map_but_not_its_vm);
	tcase_add_test(tc, handed_directory_is_connected_in_with_its_owners_rights);
	tcase_add_test(tc, what_is_handed_must_be_a_directory);
	tcase_add_test(tc, handed_map_is_dialled_and_found_again);
	tcase_add_test(tc, path_of_a_place_is_walked_with_its_owners_rights);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
