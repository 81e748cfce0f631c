/* SPDX-License-Identifier: MIT */
/* A whole worker in its sandbox, with the test as its netctld and as its guest, reads an env. */
#include "dataplane/vsock/env.h"
#include "tests/unit/worker_rig.h"

#include <fcntl.h>
#include <inttypes.h>

#define DOCUMENT 300000
#define SECRET 32
#define REGION_MAX ((uint64_t)256 << 20) /* no more is in use; sanitizers reserve terabytes */

static unsigned reads;
static char *document; /* full of a secret that was made up after the worker began */
static char secret[SECRET + 1];

static void on_request(uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__EnvDocument doc = NETDP__ENV_DOCUMENT__INIT;

	(void)fds;
	(void)n_fds;
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_ENV_GET);
	reads++;
	if (!document) {
		rpc_reply_status(worker.rpc, id, -ENOENT, "no document today");
		return;
	}
	doc.document = wire_put(document, DOCUMENT);
	reply.body_case = NETDP__ENVELOPE__BODY_ENV_DOCUMENT;
	reply.env_document = &doc;
	rpc_reply(worker.rpc, id, &reply, NULL, 0);
}

static void setup(void)
{
	worker.request = on_request;
	worker_setup();
	worker_attach_guest();
}

static void teardown(void)
{
	worker_teardown();
	free(document);
	document = NULL;
}

static void make_document(void)
{
	uint8_t bytes[SECRET / 2];

	os_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(secret + 2 * i, 3, "%02x", bytes[i]);
	document = malloc(DOCUMENT);
	ck_assert_ptr_nonnull(document);
	for (size_t i = 0; i < DOCUMENT; i++)
		document[i] = secret[i % SECRET];
}

static void read_document(uint32_t port)
{
	uint32_t got = 0;
	struct vsock_packet packet;

	guest_send(VSOCK_OP_REQUEST, port, VSOCK_ENV_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, port);
	for (packet = guest_next(); packet.op == VSOCK_OP_RW; packet = guest_next()) {
		ck_assert_mem_eq(rig.in + VSOCK_HLEN, document + got, packet.len);
		got += packet.len;
	}
	ck_assert_int_eq(packet.op, VSOCK_OP_SHUTDOWN);
	ck_assert_uint_eq(got, DOCUMENT);
	guest_send(VSOCK_OP_RST, port, VSOCK_ENV_PORT, 0);
}

/* Whether the worker's memory holds the secret; -1 where we may not look. */
static int worker_remembers(void)
{
	static char text[1 << 20];
	char name[64], line[512], mode;
	uint64_t from, to;
	int found = 0, fd;
	FILE *maps;

	snprintf(name, sizeof(name), "/proc/%d/maps", (int)worker.pid);
	maps = fopen(name, "re");
	if (!maps)
		return -1;
	snprintf(name, sizeof(name), "/proc/%d/mem", (int)worker.pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %c", &from, &to, &mode) != 3 ||
			mode != 'r' || to - from > REGION_MAX || to > INT64_MAX)
			continue;
		for (; from < to; from += sizeof(text) - SECRET) {
			ssize_t n = pread(fd, text,
				to - from < sizeof(text) ? (size_t)(to - from) : sizeof(text),
				(off_t)from);

			if (n > 0 && memmem(text, (size_t)n, secret, SECRET))
				found = 1;
			if (to - from <= sizeof(text))
				break;
		}
	}
	fclose(maps);
	if (fd < 0)
		return -1;
	close(fd);
	return found;
}

START_TEST(the_guest_reads_what_netctld_says_at_each_read)
{
	guest_send(VSOCK_OP_REQUEST, 999, VSOCK_ENV_PORT, 0);
	guest_expect(VSOCK_OP_RST, 999);
	make_document();
	read_document(1000);
	free(document);
	make_document();
	read_document(1001);
	ck_assert_uint_eq(reads, 3);
}
END_TEST

START_TEST(the_worker_forgets_what_it_has_passed_on)
{
	make_document();
	read_document(1000);
	rig_run(300);
	ck_assert_int_ne(worker_remembers(), 1);
	/* But finds it while the guest has yet to fetch it, or the search is worth nothing. */
	rig.buf_alloc = 0;
	guest_send(VSOCK_OP_REQUEST, 1001, VSOCK_ENV_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, 1001);
	ck_assert_int_ne(worker_remembers(), 0);
	guest_send(VSOCK_OP_RST, 1001, VSOCK_ENV_PORT, 0);
	rig_run(300);
	ck_assert_int_ne(worker_remembers(), 1);
}
END_TEST

START_TEST(what_cannot_be_set_is_said)
{
	ck_assert_int_eq(
		worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_STREAM, os_dup(rig.guest), 2), -EINVAL);
	ck_assert_int_eq(worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_STREAM, -1, 3), -EINVAL);
	ck_assert_int_eq(worker_set_vsock((Netdp__VsockKind)9, os_dup(rig.guest), 3), -EINVAL);
	ck_assert_int_eq(
		worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_NONE, os_dup(rig.guest), 0), -EINVAL);
	ck_assert(!host_is_at_end(rig.guest));
	ck_assert_int_eq(worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_NONE, -1, 0), 0);
	ck_assert(host_is_at_end(rig.guest));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_worker");
	TCase *t = tcase_create("worker");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_guest_reads_what_netctld_says_at_each_read);
	tcase_add_test(t, the_worker_forgets_what_it_has_passed_on);
	tcase_add_test(t, what_cannot_be_set_is_said);
	suite_add_tcase(s, t);
	return run_suite(s);
}
