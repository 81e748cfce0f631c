/* SPDX-License-Identifier: MIT */
/* A VM's vsock settings, and the sockets that follow from them. */
#include "ctl/vsock_config.h"

#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

#include <sys/un.h>

static struct vm_rig rig;
static struct error err;
static struct vm_config config;

static void set_up(void)
{
	vm_rig_start(&rig);
}

static void tear_down(void)
{
	vm_rig_stop(&rig);
}

static int read_text(const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	int status;

	ck_assert_msg(doc != NULL, "%s", text);
	memset(&err, 0, sizeof(err));
	status = vm_config_read(doc, "/run/netctl", VM_LINK_NONE, &config, &err);
	json_object_put(doc);
	return status;
}

/* ---- settings ---- */

START_TEST(none_by_default)
{
	ck_assert_int_eq(read_text("{\"name\":\"a\"}"), 0);
	ck_assert_int_eq(config.vsock.kind, VM_VSOCK_NONE);
	ck_assert_str_eq(config.vsock.path, "");
}
END_TEST

START_TEST(vmm_socket_and_cid_have_defaults)
{
	ck_assert_int_eq(read_text("{\"name\":\"a\",\"vsock\":{\"kind\":\"vhost\"}}"), 0);
	ck_assert_str_eq(config.vsock.path, "/run/netctl/vms/a/vmm.sock");
	ck_assert_uint_eq(config.vsock.cid, 3);
}
END_TEST

START_TEST(text_reads_back)
{
	struct json_object *doc;
	struct vsock_config first;

	ck_assert_int_eq(
		read_text("{\"name\":\"a\",\"vsock\":{\"kind\":\"hybrid\",\"path\":\"/srv/v.sock\","
			  "\"handed\":true,\"cid\":4294967294}}"),
		0);
	first = config.vsock;
	doc = vm_config_json(&config);
	ck_assert_int_eq(vm_config_read(doc, "/run/netctl", VM_LINK_NONE, &config, &err), 0);
	json_object_put(doc);
	ck_assert_mem_eq(&first, &config.vsock, sizeof(first));
	ck_assert_uint_eq(first.cid, 4294967294);
	ck_assert(first.handed);
}
END_TEST

START_TEST(bad_settings_name_the_field)
{
	static const struct {
		const char *vsock, *field;
	} bad[] = {
		{"{\"kind\":\"quantum\"}", "vsock.kind"},
		{"{\"kind\":\"vhost\",\"cid\":2}", "vsock.cid"},
		{"{\"kind\":\"vhost\",\"cid\":4294967295}", "vsock.cid"},
		{"{\"kind\":\"none\",\"cid\":3}", "vsock.cid"},
		{"{\"kind\":\"none\",\"path\":\"/p\"}", "vsock.path"},
		{"{\"kind\":\"hybrid\"}", "vsock.path"},
		{"{\"kind\":\"stream\",\"handed\":true}", "vsock.path"},
		{"{\"kind\":\"stream\",\"path\":\"/tmp/p.sock\"}", "vsock.path"},
		{"{\"kind\":\"hybrid\",\"path\":\"/tmp/p.sock\"}", "vsock.path"},
		{"{\"kind\":\"stream\",\"path\":\"/run/netctl/vms/a/../b/p.sock\"}", "vsock.path"},
		{"{\"kind\":\"stream\",\"path\":\"p.sock\",\"handed\":true}", "vsock.path"},
		{"{\"kind\":\"stream\",\"socket\":\"/p\"}", "vsock.socket"},
		{"[]", "vsock"},
	};
	char text[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(text, sizeof(text), "{\"name\":\"a\",\"vsock\":%s}", bad[i].vsock);
		ck_assert_msg(read_text(text) < 0, "%s", text);
		ck_assert_msg(strcmp(err.field, bad[i].field) == 0, "%s: %s", text, err.field);
	}
}
END_TEST

/* PATH_4294967295 must be a socket's path, too. */
START_TEST(hybrid_path_leaves_room_for_a_port)
{
	char path[128], text[256];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[unix_path_max() - VSOCK_PORT_LEN] = '\0';
	snprintf(text, sizeof(text),
		"{\"name\":\"a\",\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s\",\"handed\":true}}",
		path);
	ck_assert_int_eq(read_text(text), 0);
	snprintf(text, sizeof(text),
		"{\"name\":\"a\",\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%sx\",\"handed\":true}}",
		path);
	ck_assert_int_lt(read_text(text), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "too long"));
}
END_TEST

/* ---- sockets ---- */

static bool serves(const char *name)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/vms/web/%s", rig.dir, name);
	fd = unix_connect(path, SOCK_STREAM, 0, true);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool exists(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/vms/web/%s", rig.dir, name);
	return access(path, F_OK) == 0;
}

START_TEST(sockets_come_and_go_with_the_vm)
{
	struct vm *vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"vhost\"}}");

	ck_assert(serves("vmm.sock"));
	ck_assert(serves("vsock.sock"));
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET], 1);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_LISTEN], 1);
	ck_assert_int_eq(vm_delete(vm, NULL, NULL, &err), 0);
	ck_assert(!exists("vmm.sock"));
	ck_assert(!exists("vsock.sock"));
	ck_assert(!exists(""));
}
END_TEST

START_TEST(hybrid_listens_for_env_and_each_map)
{
	char text[256];
	struct map_spec spec = {.port = 5000, .tcp = true, .to = {.port = 9}};
	struct map *map;
	struct json_object *doc, *connected = NULL;
	struct vm *vm;
	bool is_new;

	addr_parse("127.0.0.1", &spec.to.addr);
	snprintf(text, sizeof(text),
		"{\"name\":\"web\",\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s/vms/web/v.sock\"}}",
		rig.dir);
	vm = vm_rig_vm(&rig, text);
	ck_assert(serves("v.sock_1026"));
	ck_assert(!exists("v.sock"));
	ck_assert(!exists("vsock.sock"));
	doc = vm_vsock_json(vm);
	ck_assert(json_object_object_get_ex(doc, "connected", &connected) && !connected);
	json_object_put(doc);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_LISTEN], 1);
	ck_assert_int_eq(vm_map_add(vm, &spec, NULL, &map, &is_new, NULL, &err), 0);
	ck_assert(serves("v.sock_5000"));
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_VSOCK_LISTEN] == 2);
	ck_assert_int_eq(vm_map_delete(vm, map, NULL, &err), 0);
	ck_assert(!exists("v.sock_5000"));
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_VSOCK_UNLISTEN] == 1);
}
END_TEST

START_TEST(vmm_of_the_vsock_makes_the_vm_run)
{
	struct vm *vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"vhost\"}}");
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockChanged msg;

	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	netdp__vsock_changed__init(&msg);
	msg.up = true;
	msg.kind = NETDP__VSOCK_KIND__VSOCK_VHOST;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_CHANGED;
	env.vsock_changed = &msg;
	rpc_event(rig.rpc, &env, NULL, 0);
	RIG_WAIT(&rig, vm->vsock.up);
	ck_assert_str_eq(vm_state(vm), "running");
	msg.refused = true;
	rpc_event(rig.rpc, &env, NULL, 0);
	RIG_WAIT(&rig, vm_rig_events(&rig, "vsock.refused") == 1);
	vm_rig_death(&rig, vm);
	ck_assert_str_eq(vm_state(vm), "waiting");
	ck_assert_uint_eq(vm_rig_events(&rig, "vsock.up"), 1);
	ck_assert_uint_eq(vm_rig_events(&rig, "vsock.down"), 1);
}
END_TEST

/* ---- adoption ---- */

static int their_vmm, their_host;

/* A worker at work for this VM, with the sockets that an earlier netctld bound. */
static bool at_work(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__Description description;
	Netdp__Configure conf;
	Netdp__LinkSet link = NETDP__LINK_SET__INIT;
	Netdp__Forwards forwards = NETDP__FORWARDS__INIT;
	Netdp__Tsi tsi = NETDP__TSI__INIT;
	Netdp__Vsock vsock = NETDP__VSOCK__INIT;
	Netdp__VsockSet set = NETDP__VSOCK_SET__INIT;
	Netdp__VsockListen host = NETDP__VSOCK_LISTEN__INIT, *list[] = {&host};
	struct prefix subnet;
	struct addr gateway;
	int give[] = {their_vmm, their_host};
	char name[] = "web";

	(void)fds;
	(void)n_fds;
	netdp__description__init(&description);
	netdp__configure__init(&conf);
	prefix_parse("10.0.2.0/24", false, &subnet);
	addr_parse("10.0.2.2", &gateway);
	switch (env->body_case) {
	case NETDP__ENVELOPE__BODY_DESCRIBE:
		conf.vm = name;
		conf.subnet = wire_put_addr(&subnet.addr);
		conf.subnet_bits = subnet.bits;
		conf.gateway = conf.guest = wire_put_addr(&gateway);
		conf.mtu = 1500;
		description.config = &conf;
		description.link = &link;
		description.configured = true;
		reply.body_case = NETDP__ENVELOPE__BODY_DESCRIPTION;
		reply.description = &description;
		break;
	case NETDP__ENVELOPE__BODY_FORWARDS_GET:
		reply.body_case = NETDP__ENVELOPE__BODY_FORWARDS;
		reply.forwards = &forwards;
		break;
	case NETDP__ENVELOPE__BODY_TSI_GET:
		reply.body_case = NETDP__ENVELOPE__BODY_TSI;
		reply.tsi = &tsi;
		break;
	case NETDP__ENVELOPE__BODY_VSOCK_GET:
		set.kind = NETDP__VSOCK_KIND__VSOCK_STREAM;
		set.cid = 3;
		set.listener = true;
		vsock.set = &set;
		vsock.up = true;
		vsock.listeners = list;
		vsock.n_listeners = vsock.total = 1;
		reply.body_case = NETDP__ENVELOPE__BODY_VSOCK;
		reply.vsock = &vsock;
		rpc_reply(r->rpc, id, &reply, give, 2);
		return true;
	default:
		return false;
	}
	rpc_reply(r->rpc, id, &reply, NULL, 0);
	return true;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Its connections would end if it were set anew. */
START_TEST(adopted_worker_goes_on_with_its_sockets)
{
	struct vm *vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}");

	their_vmm = vm->vsock.vmm;
	their_host = vm->vsock.host;
	vm->vsock.vmm = vm->vsock.host = -1;
	vm->settled = false;
	rig.answer = at_work;
	vm_rig_worker(&rig, vm, SUPERVISED_ADOPTED);
	ck_assert_uint_eq(inode_of(vm->vsock.vmm), inode_of(their_vmm));
	ck_assert_uint_eq(inode_of(vm->vsock.host), inode_of(their_host));
	ck_assert(vm->vsock.up);
	for (int i = 0; i < 5; i++)
		vm_rig_turn(&rig);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET], 0);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_LISTEN], 0);
	close(their_vmm);
	close(their_host);
}
END_TEST

/* What a captured worker gives must be what this VM has. */
START_TEST(foreign_sockets_of_an_adopted_worker_are_not_taken)
{
	struct vm *vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}");
	char path[128];

	close(vm->vsock.vmm);
	close(vm->vsock.host);
	vm->vsock.vmm = vm->vsock.host = -1;
	vm->settled = false;
	snprintf(path, sizeof(path), "%s/foreign.sock", rig.dir);
	their_vmm = their_host = unix_listen(path, SOCK_STREAM, 0600);
	rig.answer = at_work;
	vm_rig_worker(&rig, vm, SUPERVISED_ADOPTED);
	ck_assert_uint_ne(inode_of(vm->vsock.vmm), inode_of(their_vmm));
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET] == 1);
	ck_assert(serves("vmm.sock"));
	close(their_vmm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vsock settings");
	TCase *tc = tcase_create("vsock settings");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, none_by_default);
	tcase_add_test(tc, vmm_socket_and_cid_have_defaults);
	tcase_add_test(tc, text_reads_back);
	tcase_add_test(tc, bad_settings_name_the_field);
	tcase_add_test(tc, hybrid_path_leaves_room_for_a_port);
	tcase_add_test(tc, sockets_come_and_go_with_the_vm);
	tcase_add_test(tc, hybrid_listens_for_env_and_each_map);
	tcase_add_test(tc, vmm_of_the_vsock_makes_the_vm_run);
	tcase_add_test(tc, adopted_worker_goes_on_with_its_sockets);
	tcase_add_test(tc, foreign_sockets_of_an_adopted_worker_are_not_taken);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
