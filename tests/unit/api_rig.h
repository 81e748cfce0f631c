/* SPDX-License-Identifier: MIT */
/*
 * A netctld of the test's own, in a temporary directory, and a small HTTP client.
 *
 *	static struct api_rig rig;               checked fixture: api_rig_start(&rig), api_rig_stop(&rig)
 *	api_call(&rig, "POST", "/v1/vms", "{\"name\":\"a\"}");
 *	ck_assert_int_eq(rig.status, 201);       rig.body, rig.head
 *
 * The program is $NETCTL_BIN/netctld, as ctest sets it.
 */
#ifndef TESTS_UNIT_API_RIG_H
#define TESTS_UNIT_API_RIG_H

#include "common/os.h"
#include "common/unix_socket.h"

#include <check.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct api_rig {
	char dir[64];
	pid_t pid;
	int status;
	char head[8192];
	char body[1 << 20];
};

static inline void api_rig_path(const struct api_rig *rig, char *buf, size_t len, const char *name)
{
	snprintf(buf, len, "%s/run/%s", rig->dir, name);
}

/* Starts netctld in rig->dir and waits until it serves. */
static inline void api_rig_run(struct api_rig *rig)
{
	const char *bin = getenv("NETCTL_BIN");
	char program[512], runtime[96], state[96], sock[128];
	int fd = -1;

	ck_assert_msg(bin != NULL, "NETCTL_BIN is not set: run this by ctest");
	snprintf(program, sizeof(program), "%s/netctld", bin);
	snprintf(runtime, sizeof(runtime), "--runtime-dir=%s/run", rig->dir);
	snprintf(state, sizeof(state), "--state-dir=%s/state", rig->dir);
	rig->pid = fork();
	ck_assert_int_ge(rig->pid, 0);
	if (rig->pid == 0) {
		os_die_with_parent(SIGTERM);
		execl(program, "netctld", runtime, state, "--config=/dev/null", "--log-level=warn",
			"--sandbox=weak", (char *)NULL);
		_exit(127);
	}
	api_rig_path(rig, sock, sizeof(sock), "api.sock");
	for (int i = 0; i < 1000 && fd < 0; i++) {
		fd = unix_connect(sock, SOCK_STREAM, 0, false);
		if (fd < 0)
			poll(NULL, 0, 10);
	}
	ck_assert_msg(fd >= 0, "netctld does not serve %s", sock);
	close(fd);
}

static inline void api_rig_start(struct api_rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	strcpy(rig->dir, "/tmp/nctl.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(rig->dir));
	api_rig_run(rig);
}

/* Ends it with this signal and waits. Returns what waitpid(2) says. */
static inline int api_rig_end(struct api_rig *rig, int signal_number)
{
	int status = 0;

	kill(rig->pid, signal_number);
	waitpid(rig->pid, &status, 0);
	rig->pid = 0;
	return status;
}

static inline void api_rig_stop(struct api_rig *rig)
{
	char command[128];
	int status = 0;

	if (rig->pid > 0)
		status = api_rig_end(rig, SIGTERM);
	snprintf(command, sizeof(command), "rm -rf '%s'", rig->dir);
	ck_assert_int_eq(
		system(command), 0); /* NOLINT(cert-env33-c): a fixed command on our directory */
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "netctld ended with %#x",
		(unsigned)status);
}

static inline int api_rig_connect(struct api_rig *rig, const char *name)
{
	char sock[128];
	int fd;

	api_rig_path(rig, sock, sizeof(sock), name);
	fd = unix_connect(sock, SOCK_STREAM, 1000, false);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* One request on a connection of its own; body NULL for none. */
static inline void api_call(
	struct api_rig *rig, const char *method, const char *path, const char *body)
{
	static char answer[(1 << 20) + 8192];
	int fd = api_rig_connect(rig, "api.sock");
	size_t used = 0;
	char *split;
	ssize_t n;

	n = snprintf(answer, sizeof(answer),
		"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		method, path, body ? strlen(body) : 0, body ? body : "");
	os_send(fd, answer, (size_t)n, 0); /* cut short where the answer is 413 */
	while ((n = recv(fd, answer + used, sizeof(answer) - 1 - used, 0)) > 0)
		used += (size_t)n;
	close(fd);
	answer[used] = '\0';
	split = strstr(answer, "\r\n\r\n");
	ck_assert_msg(split != NULL, "%s %s: no answer", method, path);
	*split = '\0';
	snprintf(rig->head, sizeof(rig->head), "%.8000s", answer);
	memmove(rig->body, split + 4, strnlen(split + 4, sizeof(rig->body) - 1) + 1);
	rig->status = atoi(answer + strlen("HTTP/1.1 "));
}

/* The same, and claims the status. */
static inline void api_expect(
	struct api_rig *rig, int status, const char *method, const char *path, const char *body)
{
	api_call(rig, method, path, body);
	ck_assert_msg(rig->status == status, "%s %s %s: %d, not %d: %s", method, path,
		body ? body : "", rig->status, status, rig->body);
}

/* And that a problem names this field. */
static inline void api_expect_field(struct api_rig *rig, int status, const char *field,
	const char *method, const char *path, const char *body)
{
	struct json_object *doc, *value = NULL;

	api_expect(rig, status, method, path, body);
	ck_assert_ptr_nonnull(strstr(rig->head, "application/problem+json"));
	doc = json_tokener_parse(rig->body);
	json_object_object_get_ex(doc, "field", &value);
	ck_assert_msg(value && strcmp(json_object_get_string(value), field) == 0,
		"%s %s %s: field %s is not named: %s", method, path, body ? body : "", field,
		rig->body);
	json_object_put(doc);
}

/* A member of the answer by its path, as text ("" where there is none): "link.path", "items.0.id". */
static inline const char *api_text(const struct api_rig *rig, const char *path)
{
	static char text[4096];
	struct json_object *doc = json_tokener_parse(rig->body), *at = doc;
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *key = strtok_r(copy, ".", &save); key && at; key = strtok_r(NULL, ".", &save)) {
		if (json_object_is_type(at, json_type_array))
			at = json_object_array_get_idx(at, (size_t)atoi(key));
		else if (!json_object_object_get_ex(at, key, &at))
			at = NULL;
	}
	snprintf(text, sizeof(text), "%s", at ? json_object_get_string(at) : "");
	json_object_put(doc);
	return text;
}

#endif
