/* SPDX-License-Identifier: MIT */
/*
 * netctl capture: a VM's frames into a file, or to whoever reads stdout, as pcapng.
 *
 * One end of a socket pair goes to the VM's worker, by attach.sock; from the other whole blocks are
 * written on. To end it, our side is shut: the worker then sends what it still has, and the last
 * statistics. A file with a limit is ended by us as well, with room kept for these.
 */
#include "cli/args.h"
#include "cli/attach.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/pcapng.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_MAX 8
#define LAST_WORDS_MS 3000 /* from the worker, once we said that it is enough */
#define STATISTICS_MAX 128 /* bytes kept free for the last ones */

enum { OPT_WRITE = 'w', OPT_PORT = 'p', OPT_SIZE = 'C', OPT_COUNT = 'c', OPT_SNAPLEN = 's' };

static const struct option options[] = {
	{OPT_WRITE, 'w', "write", "FILE", "where to, - for stdout; a file that exists is replaced"},
	{OPT_PORT, 'p', "port", "PORT[,PORT]", "only TCP and UDP from or to these, at most 8"},
	{OPT_COUNT, 'c', "count", "N", "end after so many frames"},
	{OPT_SIZE, 0, "max-size", "SIZE", "end before the file is larger, as in 100M"},
	{OPT_SNAPLEN, 0, "snaplen", "BYTES", "keep so many bytes of each frame"},
	{0},
};

struct capture {
	struct cli *cli;
	const char *path;
	int out;
	int sock;
	uint64_t max_size, max_count; /* 0: none */
	uint64_t written, packets;
	uint64_t received, dropped; /* as the worker counts */
	bool ending;                /* we said so */
	uint64_t deadline;          /* then */
	uint8_t *data;
	size_t len;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void catch_signals(void)
{
	struct sigaction act = {.sa_handler = on_signal};

	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- the command line ---- */

static int read_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *out && *out <= max ? 0 : -1;
}

/* "100M": with K, M or G 1024, 1024² or 1024³ times. */
static int read_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMG";
	char digits[16];
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	unsigned shift = unit && *unit ? 10 * (unsigned)(unit - units + 1) : 0;

	len -= shift ? 1 : 0;
	if (!len || len >= sizeof(digits))
		return -1;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (read_number(digits, UINT64_MAX >> 40, out) < 0)
		return -1;
	*out <<= shift;
	return 0;
}

static int read_ports(const char *text, struct json_object *list)
{
	char port[8];

	do {
		size_t len = strcspn(text, ",");
		uint64_t number;

		if (len >= sizeof(port) || json_object_array_length(list) == PORTS_MAX)
			return -1;
		memcpy(port, text, len);
		port[len] = '\0';
		if (read_number(port, UINT16_MAX, &number) < 0)
			return -1;
		json_object_array_add(list, json_object_new_int64((int64_t)number));
		text += len;
	} while (*text++ == ',');
	return 0;
}

/* The line for attach.sock, or NULL after a message. */
static struct json_object *line_of(struct cli *cli, const struct args *args)
{
	const char *port = args_value(args, OPT_PORT), *snaplen = args_value(args, OPT_SNAPLEN);
	struct json_object *line = json_object_new_object(), *ports = json_object_new_array();
	uint64_t bytes = 0;

	json_object_object_add(line, "op", json_object_new_string("capture"));
	json_object_object_add(line, "vm", json_object_new_string(args->words[0]));
	json_object_object_add(line, "ports", ports);
	if (port && read_ports(port, ports) < 0) {
		cli_usage_error(cli, "--port %s: at most %d ports of 1 to 65535 are wanted", port,
			PORTS_MAX);
		json_object_put(line);
		return NULL;
	}
	if (snaplen && read_number(snaplen, 262144, &bytes) < 0) {
		cli_usage_error(cli, "--snaplen %s: not 1 to 262144", snaplen);
		json_object_put(line);
		return NULL;
	}
	if (snaplen)
		json_object_object_add(line, "snaplen", json_object_new_int64((int64_t)bytes));
	return line;
}

static int read_limits(struct capture *c, const struct args *args)
{
	const char *size = args_value(args, OPT_SIZE), *count = args_value(args, OPT_COUNT);

	if (!c->path)
		return cli_usage_error(c->cli, "-w FILE is needed; - is stdout");
	if (size && (read_size(size, &c->max_size) < 0 || c->max_size < 4096))
		return cli_usage_error(
			c->cli, "--max-size %s: not a size of 4K or more, as in 100M", size);
	if (count && read_number(count, UINT64_MAX >> 1, &c->max_count) < 0)
		return cli_usage_error(c->cli, "--count %s: not a number of frames", count);
	if (strcmp(c->path, "-") == 0 && isatty(STDOUT_FILENO))
		return cli_usage_error(c->cli, "-w -: stdout is a terminal");
	return 0;
}

/* ---- writing ---- */

static int write_out(const struct capture *c, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(c->out, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Enough: what comes now is the worker's last. */
static void end(struct capture *c)
{
	if (c->ending)
		return;
	c->ending = true;
	c->deadline = clock_ms() + LAST_WORDS_MS;
	shutdown(c->sock, SHUT_WR);
}

/* Whether a packet of this length is still wanted. */
static bool has_room(struct capture *c, size_t len)
{
	bool full = (c->max_count && c->packets >= c->max_count) ||
		(c->max_size && c->written + len + STATISTICS_MAX > c->max_size);

	if (full)
		end(c);
	return !full;
}

static int on_block(struct capture *c, const uint8_t *block, size_t len, enum pcapng_kind kind)
{
	if (kind == PCAPNG_PACKET && !has_room(c, len))
		return 0;
	if (kind == PCAPNG_STATISTICS)
		pcapng_statistics(block, len, &c->received, &c->dropped);
	/* Statistics on the way there, too, only while there is room for the last. */
	if (kind == PCAPNG_STATISTICS && c->max_size && c->written + len > c->max_size)
		return 0;
	c->packets += kind == PCAPNG_PACKET;
	c->written += len;
	if (c->max_count && c->packets >= c->max_count)
		end(c);
	return write_out(c, block, len);
}

static int give_blocks(struct capture *c)
{
	size_t at = 0;
	int err = 0;

	while (!err) {
		enum pcapng_kind kind = PCAPNG_PACKET;
		long len = pcapng_block(c->data + at, c->len - at, &kind);

		if (len <= 0) {
			err = (int)len;
			break;
		}
		err = on_block(c, c->data + at, (size_t)len, kind);
		at += (size_t)len;
	}
	c->len -= at;
	memmove(c->data, c->data + at, c->len);
	return err;
}

/* 1 at the end of the stream. */
static int receive(struct capture *c)
{
	ssize_t n = recv(c->sock, c->data + c->len, 2 * PCAPNG_BLOCK_MAX - c->len, 0);

	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 1;
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	c->len += (size_t)n;
	return give_blocks(c);
}

/* Until the end. 0, or a negative errno. */
static int run(struct capture *c)
{
	struct pollfd pfd = {.fd = c->sock, .events = POLLIN};
	int err = 0;

	while (!err) {
		uint64_t now = clock_ms();
		int wait = -1;

		if (stop)
			end(c);
		if (c->ending && now >= c->deadline)
			return 0;
		if (c->ending)
			wait = (int)(c->deadline - now);
		if (poll(&pfd, 1, wait) > 0)
			err = receive(c);
	}
	return err < 0 ? err : 0;
}

static int result(const struct capture *c, int err)
{
	if (err == -EPROTO)
		return cli_error(c->cli, STATUS_FAILURE,
			"what comes is no capture: its worker is not to be trusted");
	if (err == -EPIPE)
		return STATUS_OK; /* nobody reads it any more */
	if (err)
		return cli_error(c->cli, STATUS_FAILURE, "%s: %s", c->path, errno_text(err));
	fprintf(stderr, "netctl: capture: %" PRIu64 " frames, %" PRIu64 " lost\n", c->packets,
		c->dropped);
	if (!c->ending)
		return cli_error(c->cli, STATUS_FAILURE, "ended by the worker's end");
	return STATUS_OK;
}

/* ---- the command ---- */

static int open_out(struct capture *c)
{
	c->out = strcmp(c->path, "-") == 0
		? STDOUT_FILENO
		: open(c->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (c->out >= 0)
		return 0;
	return cli_error(c->cli, STATUS_FAILURE, "%s: %s", c->path, errno_text(errno));
}

/* Has a worker write into a socket whose other end is c->sock. */
static int begin(struct capture *c, struct json_object *line)
{
	int attach = attach_connect(c->cli), pair[2] = {-1, -1}, status;

	if (attach < 0) {
		json_object_put(line);
		return -attach;
	}
	status = os_socketpair(AF_UNIX, SOCK_STREAM, false, pair);
	if (status < 0) {
		json_object_put(line);
		status = cli_error(c->cli, STATUS_FAILURE, "%s", errno_text(status));
	} else {
		c->sock = pair[0];
		status = attach_request(c->cli, attach, line, pair[1], NULL);
		close(pair[1]);
	}
	close(attach);
	return status;
}

static int capture(struct cli *cli, const struct args *args)
{
	struct capture c = {.cli = cli, .path = args_value(args, OPT_WRITE), .out = -1, .sock = -1};
	int status = read_limits(&c, args);
	struct json_object *line = status ? NULL : line_of(cli, args);

	if (!line)
		return status ? status : STATUS_USAGE;
	c.data = malloc(2 * PCAPNG_BLOCK_MAX);
	if (!c.data)
		abort();
	catch_signals();
	status = begin(&c, line);
	if (!status)
		status = open_out(&c);
	if (!status)
		status = result(&c, run(&c));
	if (c.sock >= 0)
		close(c.sock);
	if (c.out > STDOUT_FILENO && close(c.out) < 0 && !status)
		status = cli_error(cli, STATUS_FAILURE, "%s: %s", c.path, errno_text(errno));
	free(c.data);
	return status;
}

static const struct command commands[] = {
	{
		.usage =
			"VM -w FILE [--port PORTS] [--count N] [--max-size SIZE] [--snaplen BYTES]",
		.summary = "Write the frames of a VM's link, both ways, to a file for Wireshark",
		.example = "netctl capture web -w - --port 53 | tshark -r -",
		.options = options,
		.min_words = 1,
		.max_words = 1,
		.run = capture,
		.notes =
			"Frames that are lost because FILE takes them too slowly are counted in it.\n",
	},
	{0},
};

const struct noun noun_capture = {"capture", "A VM's frames, as Wireshark reads them", commands};
