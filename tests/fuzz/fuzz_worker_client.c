/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a captured worker sends netctld, behind a proper Hello: frames, envelopes, events,
 * questions, and replies to requests that are under way (ids 1 to 8).
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. -Ibuild/debug/generated -D_GNU_SOURCE= \
 *		-DNETCTL_VERSION='"0"' tests/fuzz/fuzz_worker_client.c ctl/worker_{client,client_policy,client_vsock,answers,vsock_answers}.c proto/{channel,frame,rpc,wire}.c \
 *		common/{addr,clock,error,log,os_linux,unix_socket}.c build/debug/generated/netdp.pb-c.c \
 *		-levent -lprotobuf-c
 */
#include "common/os.h"
#include "ctl/worker_client.h"
#include "proto/frame.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static unsigned done;

static void link_changed(void *arg, const struct worker_link_event *event)
{
	(void)arg;
	if (!memchr(event->text, '\0', sizeof(event->text)))
		abort();
}

static void lease(void *arg, const struct worker_lease *got)
{
	(void)arg;
	if (!memchr(got->hostname, '\0', sizeof(got->hostname)))
		abort();
}

static void flow_refused(void *arg, const struct worker_refused_event *event)
{
	(void)arg;
	if (!memchr(event->name, '\0', sizeof(event->name)))
		abort();
}

static void vsock_changed(void *arg, const struct worker_vsock_event *event)
{
	(void)arg;
	if (!memchr(event->text, '\0', sizeof(event->text)) || event->kind > WORKER_VSOCK_HYBRID)
		abort();
}

static void proxies(void *arg, const struct tsi_proxy *list, size_t n)
{
	(void)arg;
	if (n > TSI_PROXIES_MAX)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (list[i].family != TSI_INET && list[i].family != TSI_INET6)
			abort();
	}
}

static struct worker_client *asked;
static uint64_t questions[WORKER_DIALS_MAX];
static size_t n_questions;

/* Every second one is answered at once, the others are left. */
static void dial(void *arg, uint64_t question, bool vmm, uint32_t port)
{
	(void)arg;
	(void)port;
	if (n_questions == WORKER_DIALS_MAX)
		abort();
	if (vmm)
		worker_client_dialed(asked, question, -ENOENT, false);
	else
		questions[n_questions++] = question;
}

/* Any fd will do. */
static int tsi_listen(void *arg, const struct tsi_listener *asked_for, struct endpoint *host)
{
	(void)arg;
	if (asked_for->family != TSI_INET && asked_for->family != TSI_INET6)
		abort();
	memset(host, 0, sizeof(*host));
	return 2;
}

static const struct worker_client_events events = {.link_changed = link_changed,
	.lease = lease,
	.flow_refused = flow_refused,
	.vsock_changed = vsock_changed,
	.tsi_proxies = proxies,
	.vsock_dial = dial,
	.tsi_listen = tsi_listen};

static void closed(void *arg, int err, const char *text)
{
	(void)arg;
	if (err >= 0 || !text)
		abort();
}

static const struct worker_client_hooks hooks = {NULL, closed};

static void on_description(void *arg, int code, const char *text, struct worker_description *d)
{
	(void)arg;
	if (!text || (code == 0) != (d != NULL))
		abort();
	done++;
}

static void on_forwards(
	void *arg, int code, const char *text, struct worker_forward *list, size_t n)
{
	(void)arg;
	(void)code;
	if (!text || n > WORKER_FORWARDS_MAX || (n && !list))
		abort();
	done++;
}

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	(void)arg;
	if (!text || (code == 0) != (stats != NULL))
		abort();
	done++;
}

static void on_flows(
	void *arg, int code, const char *text, const struct worker_flow *flows, size_t n, bool more)
{
	(void)arg;
	(void)code;
	(void)more;
	if (!text || n > 100 || (n && !flows))
		abort();
	done++;
}

static void on_counts(
	void *arg, int code, const char *text, const struct worker_policy_count *counts, size_t n)
{
	(void)arg;
	if (!text || (code == 0) != (counts != NULL) || (n && !counts))
		abort();
	done++;
}

static void on_names(void *arg, int code, const char *text, const char *const *names, size_t n)
{
	(void)arg;
	if (!text || n > 64 || (code && n))
		abort();
	for (size_t i = 0; i < n; i++) {
		if (strlen(names[i]) > WORKER_NAME_MAX)
			abort();
	}
	done++;
}

static void on_vsock(void *arg, int code, const char *text, struct worker_vsock *vsock)
{
	(void)arg;
	if (!text || (code == 0) != (vsock != NULL) ||
		(vsock && vsock->n > WORKER_VSOCK_LISTENERS_MAX))
		abort();
	done++;
}

static void on_tsi(void *arg, int code, const char *text, struct worker_tsi *tsi)
{
	(void)arg;
	if (!text || (code == 0) != (tsi != NULL) ||
		(tsi && (tsi->n > TSI_LISTENERS_MAX || tsi->n_proxies > TSI_PROXIES_MAX)))
		abort();
	done++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const uint8_t hello[] = {0, 0, 0, 4, 0x1a, 2, 0x08, 1};
	static struct event_base *base;
	struct worker_client *client;
	int pair[2];

	if (!base)
		base = event_base_new();
	if (size > 65536 || os_socketpair(AF_UNIX, SOCK_STREAM, true, pair) < 0)
		return 0;
	done = 0;
	client = worker_client_new(base, pair[0], "fuzz", &events, NULL, &hooks, NULL);
	worker_client_describe(client, on_description, NULL);
	worker_client_forwards(client, on_forwards, NULL);
	worker_client_stats(client, on_stats, NULL);
	worker_client_flows(client, 100, on_flows, NULL);
	worker_client_vsock(client, on_vsock, NULL);
	worker_client_tsi(client, on_tsi, NULL);
	worker_client_policy_counts(client, on_counts, NULL);
	worker_client_addr_names(
		client, &(struct policy_flow){&addr_any, 80, POLICY_PROTO_TCP}, on_names, NULL);
	asked = client;
	n_questions = 0;
	os_send(pair[1], hello, sizeof(hello), 0);
	os_send(pair[1], bytes, size, 0);
	close(pair[1]);
	for (int i = 0; i < 8; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	while (n_questions)
		worker_client_dialed(client, questions[--n_questions], 2, true);
	worker_client_free(client);
	if (done != 8) /* each completion is owed once */
		abort();
	return 0;
}
