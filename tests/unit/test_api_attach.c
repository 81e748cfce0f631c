/* SPDX-License-Identifier: MIT */
/* attach.sock: which fd goes with which line, what is refused, and whom ephemeral VMs belong to. */
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

static struct api_rig rig;
static int sock;

static void set_up(void)
{
	struct timeval limit = {.tv_sec = 5};

	api_rig_start(&rig);
	sock = api_rig_connect(&rig, "attach.sock");
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static void tear_down(void)
{
	if (sock >= 0)
		close(sock);
	api_rig_stop(&rig);
}

static void send_with(const char *text, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	union {
		const char *in;
		char *out;
	} base = {.in = text};
	struct iovec iov = {.iov_base = base.out, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n * sizeof(int));
	}
	ck_assert_int_eq(os_sendmsg(sock, &msg, 0), (ssize_t)strlen(text));
}

/* One answer, into rig.body; false at the end of the connection. */
static bool receive(void)
{
	size_t used = 0;

	while (recv(sock, rig.body + used, 1, 0) == 1) {
		if (rig.body[used++] == '\n') {
			rig.body[used] = '\0';
			return true;
		}
	}
	return false;
}

/* A line with an fd (-1: without), and what `status` its answer has; 0 is ok. */
static void expect(int status, const char *line, int fd)
{
	char text[4096];

	snprintf(text, sizeof(text), "%s\n", line);
	send_with(text, &fd, fd >= 0);
	ck_assert(receive());
	ck_assert_msg(atoi(api_text(&rig, "status")) == status, "%s: %s", line, rig.body);
	ck_assert_str_eq(api_text(&rig, "ok"), status ? "false" : "true");
}

static void expect_field(int status, const char *field, const char *line, int fd)
{
	expect(status, line, fd);
	ck_assert_str_eq(api_text(&rig, "field"), field);
}

static void make_pair(int type, int fds[2])
{
	ck_assert_int_eq(os_socketpair(AF_UNIX, type, false, fds), 0);
}

static int listen_any(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, false);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

START_TEST(bad_lines_are_answered)
{
	expect(400, "nonsense", -1);
	expect(400, "[]", -1);
	expect_field(400, "op", "{}", -1);
	expect_field(400, "op", "{\"op\":\"dance\"}", -1);
	expect_field(404, "vm", "{\"op\":\"stream\",\"vm\":\"a\"}", -1);
	expect_field(404, "vm", "{\"op\":\"listen\",\"vm\":\"nobody\",\"for\":\"link\"}", -1);
	expect_field(400, "create.speed",
		"{\"op\":\"hold\",\"create\":{\"name\":\"a\",\"speed\":1}}", -1);
	expect(0, "{\"op\":\"hold\",\"create\":{\"name\":\"a\"}}", -1);
	expect_field(400, "colour",
		"{\"op\":\"listen\",\"vm\":\"a\",\"for\":\"link\",\"colour\":1}", -1);
	expect_field(400, "fd", "{\"op\":\"listen\",\"vm\":\"a\",\"for\":\"vsock\"}", -1);
	expect_field(400, "for", "{\"op\":\"listen\",\"vm\":\"a\",\"for\":\"tea\"}", -1);
}
END_TEST

START_TEST(long_line_ends_the_connection)
{
	static char line[(128 << 10) + 100];

	memset(line, 'x', sizeof(line) - 1);
	send_with(line, NULL, 0);
	ck_assert(receive());
	ck_assert_ptr_nonnull(strstr(rig.body, "longer than 131072 bytes"));
	ck_assert(!receive());
}
END_TEST

START_TEST(fd_must_be_there_and_of_the_kind)
{
	static const char tap[] =
		"{\"op\":\"link\",\"vm\":\"e\",\"kind\":\"tap\",\"create\":{\"name\":\"e\"}}";
	static const char dgram[] =
		"{\"op\":\"link\",\"vm\":\"e\",\"kind\":\"dgram\",\"create\":{\"name\":\"e\"}}";
	static const char stream[] =
		"{\"op\":\"link\",\"vm\":\"e\",\"kind\":\"stream\",\"create\":{\"name\":\"e\"}}";
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[2], listener = listen_any();

	make_pair(SOCK_DGRAM, fds);
	expect_field(400, "fd", tap, -1);
	expect_field(400, "fd", tap, null);
	expect_field(400, "fd", tap, fds[0]);
	expect_field(400, "fd", dgram, null);
	expect_field(400, "fd", dgram, listener);
	expect_field(400, "fd", stream, fds[0]);
	ck_assert_ptr_nonnull(strstr(rig.body,
		"the fd is a unix datagram socket, a connected unix stream socket is wanted"));
	api_expect(&rig, 404, "GET", "/v1/vms/e", NULL);
	expect(0, dgram, fds[0]);
}
END_TEST

START_TEST(surplus_fds_are_refused)
{
	int fds[2];

	make_pair(SOCK_DGRAM, fds);
	send_with("{\"op\":\"hold\",\"create\":{\"name\":\"a\"}}\n", fds, 2);
	ck_assert(receive());
	ck_assert_str_eq(api_text(&rig, "field"), "fd");
	send_with("{\"op\":\"hold\",", NULL, 0);
	send_with("\"create\":{\"name\":\"a\"}}\n", fds, 1);
	ck_assert(receive());
	ck_assert_str_eq(api_text(&rig, "field"), "fd");
	expect(0, "{\"op\":\"hold\",\"create\":{\"name\":\"a\"}}", -1);
}
END_TEST

START_TEST(each_fd_goes_with_its_line)
{
	int fds[2];

	make_pair(SOCK_DGRAM, fds);
	send_with("{\"op\":\"hold\",\"create\":{\"name\":\"a\"}}\n", NULL, 0);
	send_with("{\"op\":\"link\",\"vm\":\"b\",\"kind\":\"dgram\",\"create\":{\"name\":\"b\"}}\n",
		fds, 1);
	send_with("{\"op\":\"hold\",\"create\":{\"name\":\"c\"}}\n", NULL, 0);
	for (int i = 0; i < 3; i++) {
		ck_assert(receive());
		ck_assert_msg(strcmp(api_text(&rig, "ok"), "true") == 0, "%s", rig.body);
	}
	ck_assert_str_eq(api_text(&rig, "vm.name"), "c");
}
END_TEST

START_TEST(second_nic_is_refused)
{
	int fds[2];

	make_pair(SOCK_DGRAM, fds);
	expect(0, "{\"op\":\"link\",\"vm\":\"e\",\"kind\":\"dgram\",\"create\":{\"name\":\"e\"}}",
		fds[0]);
	expect_field(409, "vm", "{\"op\":\"link\",\"vm\":\"e\",\"kind\":\"dgram\"}", fds[1]);
	ck_assert_ptr_nonnull(strstr(rig.body, "link in use"));
}
END_TEST

START_TEST(ephemeral_vm_goes_with_its_connection)
{
	expect(0,
		"{\"op\":\"hold\",\"create\":{\"name\":\"e\",\"forwards\":[{\"listen\":{\"port\":0},\"to\":{\"port\":1}}]}}",
		-1);
	ck_assert_str_eq(api_text(&rig, "vm.ephemeral"), "true");
	expect_field(409, "create.name", "{\"op\":\"hold\",\"create\":{\"name\":\"e\"}}", -1);
	close(sock);
	sock = -1;
	for (int i = 0; i < 100; i++) {
		api_call(&rig, "GET", "/v1/vms/e", NULL);
		if (rig.status == 404)
			return;
		poll(NULL, 0, 20);
	}
	ck_abort_msg("the VM is still there");
}
END_TEST

START_TEST(ephemeral_vm_does_not_survive_netctld)
{
	expect(0, "{\"op\":\"hold\",\"create\":{\"name\":\"e\"}}", -1);
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	api_expect(&rig, 404, "GET", "/v1/vms/e", NULL);
}
END_TEST

START_TEST(forward_is_handed_over)
{
	static const char line[] =
		"{\"op\":\"listen\",\"vm\":\"e\",\"for\":\"forward\",\"forward\":"
		"{\"listen\":{\"port\":0},\"to\":{\"port\":80}}}";
	int fd = listen_any(), fds[2];

	make_pair(SOCK_STREAM, fds);
	expect(0, "{\"op\":\"hold\",\"create\":{\"name\":\"e\"}}", -1);
	expect_field(400, "fd", line, -1);
	expect_field(400, "fd", line, fds[0]);
	expect(0, line, fd);
	ck_assert_int_gt(atoi(api_text(&rig, "forward.listen.port")), 0);
	ck_assert_str_eq(api_text(&rig, "vm.forwards"), "1");
}
END_TEST

/* A link's socket that its owner bound elsewhere, lost with its worker, and handed over again. */
START_TEST(link_is_handed_over)
{
	char path[100], body[300], line[300];
	int fd;

	snprintf(path, sizeof(path), "%s/mine.sock", rig.dir);
	snprintf(body, sizeof(body),
		"{\"name\":\"h\",\"link\":{\"kind\":\"stream\",\"path\":\"%s\",\"handed\":true}}",
		path);
	api_expect(&rig, 201, "POST", "/v1/vms", body);
	snprintf(line, sizeof(line),
		"{\"op\":\"listen\",\"vm\":\"h\",\"for\":\"link\",\"kind\":\"stream\",\"path\":\"%s\"}",
		path);
	expect_field(400, "fd", line, -1);
	fd = listen_any();
	expect_field(400, "fd", line, fd);
	close(fd);
	fd = unix_listen(path, SOCK_STREAM, 0600);
	expect(0, line, fd);
	close(fd);
	fd = unix_connect(path, SOCK_STREAM, 1000, false);
	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < 100 && strcmp(api_text(&rig, "state"), "running") != 0; i++) {
		poll(NULL, 0, 20);
		api_expect(&rig, 200, "GET", "/v1/vms/h", NULL);
	}
	ck_assert_str_eq(api_text(&rig, "state"), "running");
	expect_field(409, "vm", line, fd);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attach.sock");
	TCase *tc = tcase_create("attach.sock");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, bad_lines_are_answered);
	tcase_add_test(tc, long_line_ends_the_connection);
	tcase_add_test(tc, fd_must_be_there_and_of_the_kind);
	tcase_add_test(tc, surplus_fds_are_refused);
	tcase_add_test(tc, each_fd_goes_with_its_line);
	tcase_add_test(tc, second_nic_is_refused);
	tcase_add_test(tc, ephemeral_vm_goes_with_its_connection);
	tcase_add_test(tc, ephemeral_vm_does_not_survive_netctld);
	tcase_add_test(tc, forward_is_handed_over);
	tcase_add_test(tc, link_is_handed_over);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
