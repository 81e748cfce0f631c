/* SPDX-License-Identifier: MIT */
/* attach.sock's op stream, and what else it hands a VM's vsock. */
#include "ctl/attach.h"

#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/un.h>

static struct vm_rig rig;
static struct vm *vm;
static int sock; /* of attach.sock */
static char answer[16384];
/* what the worker was given */
static Netdp__Target__KindCase given_kind;
static uint32_t given_port;
static char given_prefix[128];
static size_t given_len;
static bool given_tcp, silent;
static struct endpoint given_client;

static bool note_stream(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	const Netdp__StreamAttach *msg = env->stream_attach;

	if (env->body_case != NETDP__ENVELOPE__BODY_STREAM_ATTACH)
		return false;
	ck_assert_uint_eq(n_fds, 1);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = fds[0];
	fds[0] = -1;
	given_kind = msg->target->kind_case;
	given_port = msg->target->vsock; /* all of the union are numbers */
	given_len = msg->prefix.len;
	if (given_len && given_len < sizeof(given_prefix))
		memcpy(given_prefix, msg->prefix.data, given_len);
	given_tcp = msg->tcp;
	if (given_tcp)
		ck_assert(wire_get_endpoint(msg->client, msg->client_port, &given_client));
	if (!silent)
		rpc_reply_status(r->rpc, id, r->code, r->code ? "the guest says no" : NULL);
	return true;
}

static void set_up(void)
{
	char path[128];

	vm_rig_start(&rig);
	rig.answer = note_stream;
	snprintf(path, sizeof(path), "%s/attach.sock", rig.dir);
	rig.daemon.attach = attach_new(&rig.daemon, unix_listen(path, SOCK_STREAM, 0600));
	sock = unix_connect(path, SOCK_STREAM, 0, true);
	ck_assert_int_ge(sock, 0);
	vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}");
}

static void tear_down(void)
{
	close(sock);
	attach_free(rig.daemon.attach);
	vm_rig_stop(&rig);
}

static void send_line(const char *line, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char first = line[0];
	struct iovec iov = {.iov_base = &first, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
	}
	ck_assert_int_eq(os_sendmsg(sock, &msg, 0), 1);
	ck_assert_int_eq(os_send(sock, line + 1, strlen(line) - 1, 0), (ssize_t)strlen(line) - 1);
	ck_assert_int_eq(os_send(sock, "\n", 1, 0), 1);
}

/* The answer's status: 0 is ok. Its field is checked where one is named. */
static int ask(const char *line, int fd, const char *field)
{
	struct json_object *doc, *value = NULL;
	size_t used = 0;
	int status;

	send_line(line, fd);
	do {
		ssize_t n;

		vm_rig_turn(&rig);
		n = recv(sock, answer + used, sizeof(answer) - 1 - used, 0);
		used += n > 0 ? (size_t)n : 0;
	} while (!used || answer[used - 1] != '\n');
	answer[used] = '\0';
	doc = json_tokener_parse(answer);
	json_object_object_get_ex(doc, "status", &value);
	status = json_object_get_int(value);
	if (field) {
		value = NULL;
		json_object_object_get_ex(doc, "field", &value);
		ck_assert_msg(value && strcmp(json_object_get_string(value), field) == 0, "%s: %s",
			line, answer);
	}
	json_object_put(doc);
	return status;
}

static int ask_stream(const char *to, const char *prefix, int fd, const char *field)
{
	char line[512];

	snprintf(line, sizeof(line), "{\"op\":\"stream\",\"vm\":\"web\",\"to\":\"%s\"%s%s%s}", to,
		prefix ? ",\"prefix\":\"" : "", prefix ? prefix : "", prefix ? "\"" : "");
	return ask(line, fd, field);
}

/* ---- op stream ---- */

START_TEST(stream_reaches_the_worker_with_its_prefix)
{
	int pair[2];

	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	ck_assert_int_eq(ask_stream("vsock:5000", "R0VUIC8=", pair[0], NULL), 0);
	ck_assert_int_eq(given_kind, NETDP__TARGET__KIND_VSOCK);
	ck_assert_uint_eq(given_port, 5000);
	ck_assert_uint_eq(given_len, 5);
	ck_assert_mem_eq(given_prefix, "GET /", 5);
	ck_assert(!given_tcp);
	/* Ours is closed: the client sees the end when the worker ends it. */
	close(pair[0]);
	close(rig.fd);
	rig.fd = -1;
	ck_assert_int_eq(recv(pair[1], answer, 1, 0), 0);
	close(pair[1]);
}
END_TEST

START_TEST(each_target_is_told)
{
	static const struct {
		const char *to;
		Netdp__Target__KindCase kind;
	} targets[] = {
		{"tsi", NETDP__TARGET__KIND_TSI_FIRST},
		{"tsi:4000000000", NETDP__TARGET__KIND_TSI_VM_PORT},
		{"tsi@80", NETDP__TARGET__KIND_TSI_BOUND_PORT},
		{"tcp:80", NETDP__TARGET__KIND_PORT},
	};
	int pair[2];

	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
		ck_assert_int_eq(ask_stream(targets[i].to, NULL, pair[0], NULL), 0);
		ck_assert_int_eq(given_kind, targets[i].kind);
		ck_assert_uint_eq(given_len, 0);
	}
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(tcp_client_is_told_by_its_address)
{
	struct endpoint at = {0};
	struct sockaddr_storage ss;
	socklen_t len;
	int service, client, accepted;

	addr_parse("127.0.0.1", &at.addr);
	service = listener_open(LISTENER_TCP, &at);
	client = os_socket(AF_INET, SOCK_STREAM, 0, false);
	len = endpoint_to_sockaddr(&at, &ss);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&ss, len), 0);
	accepted = os_accept(service, NULL, NULL);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(ask_stream("tcp:80", NULL, accepted, NULL), 0);
	ck_assert(given_tcp);
	len = sizeof(ss);
	getsockname(client, (struct sockaddr *)&ss, &len);
	endpoint_from_sockaddr((struct sockaddr *)&ss, len, &at);
	ck_assert(endpoint_eq(&at, &given_client));
	close(service);
	close(client);
	close(accepted);
}
END_TEST

START_TEST(refusals_say_which)
{
	int pair[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	ck_assert_int_eq(ask_stream("tsi", NULL, pair[0], "vm"), 503); /* no worker */
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	rig.code = -ENOENT;
	ck_assert_int_eq(ask_stream("tsi", NULL, pair[0], "to"), 404);
	ck_assert_ptr_nonnull(strstr(answer, "the guest says no"));
	rig.code = -ECONNREFUSED;
	ck_assert_int_eq(ask_stream("tsi", NULL, pair[0], "to"), 409);
	rig.code = -ETIMEDOUT;
	ck_assert_int_eq(ask_stream("tsi", NULL, pair[0], "to"), 503);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

START_TEST(bad_lines_name_the_field)
{
	static const char *const bad[] = {
		"", "tsi:", "tsi:0", "tsi@65536", "vsock", "vsock:4294967295", "udp:5", "tcp:-1"};
	int pair[2], file = open("/dev/null", O_RDWR | O_CLOEXEC);

	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(
			ask_stream(bad[i], NULL, pair[0], "to") == 400, "%s: %s", bad[i], answer);
	ck_assert_int_eq(ask_stream("tsi", "no base64!", pair[0], "prefix"), 400);
	ck_assert_int_eq(ask_stream("tsi", NULL, -1, "fd"), 400);
	ck_assert_int_eq(ask_stream("tsi", NULL, file, "fd"), 400);
	ck_assert_int_eq(
		ask("{\"op\":\"stream\",\"vm\":\"web\",\"to\":\"tsi\",\"x\":1}", pair[0], "x"),
		400);
	close(pair[0]);
	close(pair[1]);
	close(file);
}
END_TEST

/* 64 KiB of prefix fit a line; one byte more is too many. */
START_TEST(prefix_is_bounded)
{
	static unsigned char bytes[WORKER_PREFIX_MAX + 1];
	static char text[100000], line[110000];
	int pair[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	for (size_t more = 0; more < 2; more++) {
		sodium_bin2base64(text, sizeof(text), bytes, WORKER_PREFIX_MAX + more,
			sodium_base64_VARIANT_ORIGINAL);
		snprintf(line, sizeof(line),
			"{\"op\":\"stream\",\"vm\":\"web\",\"to\":\"tsi\",\"prefix\":\"%s\"}",
			text);
		ck_assert_int_eq(ask(line, pair[0], more ? "prefix" : NULL), more ? 400 : 0);
	}
	ck_assert_uint_eq(given_len, WORKER_PREFIX_MAX);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* A guest that does not answer holds the line; the daemon may end meanwhile. */
START_TEST(daemon_may_end_while_a_guest_is_asked)
{
	int pair[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	silent = true;
	send_line("{\"op\":\"stream\",\"vm\":\"web\",\"to\":\"tsi\"}", pair[0]);
	given_kind = NETDP__TARGET__KIND__NOT_SET;
	RIG_WAIT(&rig, given_kind != NETDP__TARGET__KIND__NOT_SET);
	attach_free(rig.daemon.attach);
	rig.daemon.attach = NULL;
	supervised_want(vm->slot, false); /* fails what is pending */
	vm_rig_turn(&rig);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* ---- op listen ---- */

START_TEST(vmm_listener_is_handed_over)
{
	static const char handed[] = "{\"op\":\"listen\",\"vm\":\"h\",\"for\":\"vsock\","
				     "\"kind\":\"%s\",\"path\":\"%s\"}";
	char path[128], body[256], line[256];
	int fd;

	snprintf(path, sizeof(path), "%s/mine.sock", rig.dir);
	snprintf(body, sizeof(body),
		"{\"name\":\"h\",\"vsock\":{\"kind\":\"vhost\",\"path\":\"%s\",\"handed\":true}}",
		path);
	vm = vm_rig_vm(&rig, body);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET], 0);
	fd = unix_listen(path, SOCK_STREAM, 0600);
	snprintf(line, sizeof(line), handed, "stream", path);
	ck_assert_int_eq(ask(line, fd, "vm"), 409); /* it is of the other kind */
	snprintf(line, sizeof(line), handed, "vhost", path);
	ck_assert_int_eq(ask(line, sock, "fd"), 400);
	ck_assert_int_eq(ask(line, fd, NULL), 0);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET], 1);
	close(fd);
}
END_TEST

START_TEST(hybrid_is_handed_a_directory_and_ports)
{
	char path[128], env_path[140], body[256], line[256];
	int fd, directory = os_open_directory(rig.dir), vmm;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;

	snprintf(path, sizeof(path), "%s/v.sock", rig.dir);
	snprintf(body, sizeof(body),
		"{\"name\":\"h\",\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s\",\"handed\":true}}",
		path);
	vm = vm_rig_vm(&rig, body);
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	msg.vmm = true;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	ck_assert_int_eq(vm_rig_asked(&rig, &env), -ENOTCONN);
	snprintf(line, sizeof(line),
		"{\"op\":\"listen\",\"vm\":\"h\",\"for\":\"vsock\",\"kind\":\"hybrid\",\"path\":\"%s\"}",
		path);
	ck_assert_int_eq(ask(line, sock, "fd"), 400);
	ck_assert_int_eq(ask(line, directory, NULL), 0);
	ck_assert_int_eq(vm_rig_asked(&rig, &env), -ENOENT); /* the VMM is not there yet */
	vmm = unix_listen(path, SOCK_STREAM, 0600);
	ck_assert_int_eq(vm_rig_asked(&rig, &env), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, vmm));
	snprintf(env_path, sizeof(env_path), "%s_1026", path);
	fd = unix_listen(env_path, SOCK_STREAM, 0600);
	snprintf(line, sizeof(line),
		"{\"op\":\"listen\",\"vm\":\"h\",\"for\":\"vsock\",\"kind\":\"hybrid\",\"port\":1026,\"path\":\"%s\"}",
		env_path);
	ck_assert_int_eq(ask(line, fd, NULL), 0);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VSOCK_LISTEN], 1);
	close(fd);
	close(vmm);
	close(directory);
}
END_TEST

START_TEST(map_is_handed_its_directory)
{
	char path[128], line[256];
	int service, directory = os_open_directory(rig.dir);
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;

	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	snprintf(path, sizeof(path), "%s/s.sock", rig.dir);
	service = unix_listen(path, SOCK_STREAM, 0600);
	snprintf(line, sizeof(line),
		"{\"op\":\"listen\",\"vm\":\"web\",\"for\":\"map\",\"map\":{\"port\":7,\"to\":{\"unix\":\"%s\"}}}",
		path);
	ck_assert_int_eq(ask(line, service, "fd"), 400);
	ck_assert_int_eq(ask(line, -1, "fd"), 400);
	ck_assert_int_eq(ask(line, directory, NULL), 0);
	ck_assert_ptr_nonnull(strstr(answer, "\"map\":{\"port\":7"));
	ck_assert_int_eq(ask(line, directory, NULL), 0);
	msg.port = 7;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	ck_assert_int_eq(vm_rig_asked(&rig, &env), 0);
	ck_assert(vm_rig_joined(rig.answer_fd, service));
	close(service);
	close(directory);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attach a stream");
	TCase *tc = tcase_create("attach a stream");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, stream_reaches_the_worker_with_its_prefix);
	tcase_add_test(tc, each_target_is_told);
	tcase_add_test(tc, tcp_client_is_told_by_its_address);
	tcase_add_test(tc, refusals_say_which);
	tcase_add_test(tc, bad_lines_name_the_field);
	tcase_add_test(tc, prefix_is_bounded);
	tcase_add_test(tc, daemon_may_end_while_a_guest_is_asked);
	tcase_add_test(tc, vmm_listener_is_handed_over);
	tcase_add_test(tc, hybrid_is_handed_a_directory_and_ports);
	tcase_add_test(tc, map_is_handed_its_directory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
