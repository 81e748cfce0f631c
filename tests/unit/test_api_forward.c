/* SPDX-License-Identifier: MIT */
/* Forwards by the API: their sockets, all or none, and what a killed netctld leaves. */
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

static struct api_rig rig;

static void set_up(void)
{
	api_rig_start(&rig);
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"web\"}");
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

/* A listener of ours, for a port that is taken. */
static int listen_here(int *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, false); /* not netctld's, too */

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

/* 0, or the errno of connecting to a port of 127.0.0.1. */
static int connect_to(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), err = 0;

	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		err = errno;
	close(fd);
	return err;
}

static const char *forward_body(const char *proto, int port)
{
	static char body[200];

	snprintf(body, sizeof(body),
		"{\"listen\":{\"proto\":\"%s\",\"port\":%d},\"to\":{\"port\":80}}", proto, port);
	return body;
}

static int add_any(void)
{
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", forward_body("tcp", 0));
	return atoi(api_text(&rig, "listen.port"));
}

START_TEST(free_port_is_told_and_listens)
{
	int port = add_any();

	ck_assert_int_gt(port, 0);
	ck_assert_int_eq(connect_to(port), 0);
}
END_TEST

START_TEST(deleted_forward_refuses_at_once)
{
	int port = add_any();
	char url[100];

	snprintf(url, sizeof(url), "/v1/vms/web/forwards/tcp:127.0.0.1:%d", port);
	api_expect(&rig, 204, "DELETE", url, NULL);
	ck_assert_int_eq(connect_to(port), ECONNREFUSED);
	api_expect_field(&rig, 404, "id", "DELETE", url, NULL);
}
END_TEST

START_TEST(deleted_vm_frees_its_ports)
{
	int port = add_any();

	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"web\"}");
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", forward_body("tcp", port));
}
END_TEST

START_TEST(taken_port_is_named)
{
	int port, fd = listen_here(&port);
	char want[100];

	api_expect_field(
		&rig, 409, "listen", "POST", "/v1/vms/web/forwards", forward_body("tcp", port));
	snprintf(want, sizeof(want), "forward web/tcp:127.0.0.1:%d: address in use", port);
	ck_assert_str_eq(api_text(&rig, "detail"), want);
	close(fd);
}
END_TEST

START_TEST(same_forward_again_is_200_other_409)
{
	int port = add_any();
	char body[200];

	api_expect(&rig, 200, "POST", "/v1/vms/web/forwards", forward_body("tcp", port));
	snprintf(body, sizeof(body), "{\"listen\":{\"port\":%d},\"to\":{\"port\":81}}", port);
	api_expect_field(&rig, 409, "listen", "POST", "/v1/vms/web/forwards", body);
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", forward_body("udp", port));
}
END_TEST

START_TEST(list_is_made_whole_or_not_at_all)
{
	int port, fd = listen_here(&port);
	char body[300];

	snprintf(body, sizeof(body),
		"{\"items\":[{\"listen\":{\"port\":0},\"to\":{\"port\":80}},"
		"{\"listen\":{\"port\":%d},\"to\":{\"port\":80}}]}",
		port);
	api_expect_field(&rig, 409, "items[1].listen", "POST", "/v1/vms/web/forwards", body);
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_str_eq(api_text(&rig, "items"), "[ ]");
	close(fd);
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", body);
	ck_assert_str_eq(api_text(&rig, "items.1.to.port"), "80");
}
END_TEST

START_TEST(vm_with_a_taken_port_is_not_made)
{
	int port, fd = listen_here(&port);
	char body[256];

	snprintf(body, sizeof(body), "{\"name\":\"b\",\"forwards\":[%s]}",
		forward_body("tcp", port));
	api_expect_field(&rig, 409, "forwards[0].listen", "POST", "/v1/vms", body);
	api_expect(&rig, 404, "GET", "/v1/vms/b", NULL);
	close(fd);
	api_expect(&rig, 201, "POST", "/v1/vms", body);
}
END_TEST

START_TEST(unix_path_must_lie_with_the_vm)
{
	char body[300];

	api_expect_field(&rig, 400, "listen.unix", "POST", "/v1/vms/web/forwards",
		"{\"listen\":{\"unix\":\"/tmp/elsewhere.sock\"},\"to\":{\"port\":80}}");
	snprintf(body, sizeof(body),
		"{\"listen\":{\"unix\":\"%s/run/vms/web/f.sock\"},\"to\":{\"port\":80}}", rig.dir);
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", body);
}
END_TEST

START_TEST(killed_netctld_finds_all_again)
{
	int first = add_any(), second;

	api_rig_end(&rig, SIGKILL);
	ck_assert_int_eq(connect_to(first), 0); /* its worker goes on accepting */
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_int_eq(atoi(api_text(&rig, "items.0.listen.port")), first);
	ck_assert_str_eq(api_text(&rig, "items.0.error"), "");
	second = add_any();
	ck_assert_int_eq(connect_to(first), 0);
	ck_assert_int_eq(connect_to(second), 0);
}
END_TEST

START_TEST(orderly_end_closes_listeners_in_time)
{
	int port = add_any(), status;

	status = api_rig_end(&rig, SIGTERM);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(connect_to(port), ECONNREFUSED);
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_int_eq(atoi(api_text(&rig, "items.0.listen.port")), port);
	ck_assert_int_eq(connect_to(port), 0);
}
END_TEST

/* The list's answer after a restart during which the port was taken, and after it is free again. */
START_TEST(port_taken_meanwhile_is_tried_again)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int port = add_any(), fd, on = 1;

	api_rig_end(&rig, SIGTERM);
	fd = os_socket(AF_INET, SOCK_STREAM, 0, false);
	at.sin_port = htons((uint16_t)port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.error"), "address in use");
	close(fd);
	for (int i = 0; i < 100 && connect_to(port) != 0; i++)
		poll(NULL, 0, 100);
	ck_assert_int_eq(connect_to(port), 0);
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.error"), "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("API forwards");
	TCase *tc = tcase_create("API forwards");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, free_port_is_told_and_listens);
	tcase_add_test(tc, deleted_forward_refuses_at_once);
	tcase_add_test(tc, deleted_vm_frees_its_ports);
	tcase_add_test(tc, taken_port_is_named);
	tcase_add_test(tc, same_forward_again_is_200_other_409);
	tcase_add_test(tc, list_is_made_whole_or_not_at_all);
	tcase_add_test(tc, vm_with_a_taken_port_is_not_made);
	tcase_add_test(tc, unix_path_must_lie_with_the_vm);
	tcase_add_test(tc, killed_netctld_finds_all_again);
	tcase_add_test(tc, orderly_end_closes_listeners_in_time);
	tcase_add_test(tc, port_taken_meanwhile_is_tried_again);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
