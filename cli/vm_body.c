/* SPDX-License-Identifier: MIT */
/* VM documents from options. See vm_body.h. */
#include "cli/vm_body.h"

#include "cli/attach.h"
#include "cli/document.h"
#include "cli/duration.h"
#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/json_line.h"
#include "cli/limit_option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POLICY_MAX ((size_t)8 << 20) /* of a file with blanks; netctld takes 1 MiB without */

int parse_bounded(
	const struct cli *cli, const char *option, const char *text, long min, long max, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || *out < min || *out > max)
		return cli_usage_error(
			cli, "%s %s: a number of %ld to %ld is wanted", option, text, min, max);
	return 0;
}

int check_vm_name(const struct cli *cli, const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);

	if (len && len <= 63 && strspn(name, first) && strspn(name, rest) == len)
		return 0;
	return cli_usage_error(cli,
		"\"%s\" is no name of a VM: 1 to 63 of a-z 0-9 . _ - that begin with a letter or a "
		"digit",
		name);
}

void forwards_init(struct forwards *f)
{
	f->items = json_object_new_array();
	f->handed = json_object_new_array();
}

void forwards_free(struct forwards *f)
{
	json_object_put(f->items);
	json_object_put(f->handed);
}

int forwards_add(const struct cli *cli, struct forwards *f, const char *text)
{
	struct spec spec;
	struct error err;

	if (spec_parse(text, &spec, &err) < 0)
		return cli_usage_error(cli, "%s", err.text);
	for (unsigned i = 0; i < spec.count; i++)
		json_object_array_add(
			spec.listen == SPEC_UNIX ? f->handed : f->items, spec_item(&spec, i));
	return 0;
}

static int hand(struct cli *cli, struct json_object *forward, int sock, const char *vm)
{
	struct json_object *line = json_object_new_object();

	doc_put_text(line, "op", "listen");
	doc_put_text(line, "vm", vm);
	doc_put_text(line, "for", "forward");
	json_object_object_add(line, "forward", json_object_get(forward));
	return attach_listen(cli, sock, line, SOCK_STREAM, doc_text(forward, "listen.unix"));
}

static void take_back(struct cli *cli, struct json_object *forward, const char *vm)
{
	const char *path = doc_text(forward, "listen.unix");
	char id[SPEC_ID_LEN];
	struct answer answer;

	snprintf(id, sizeof(id), "unix:%s", path);
	http_send(cli, "DELETE", http_path("vms", vm, "forwards", id, NULL), NULL, &answer);
	http_answer_free(&answer);
	unlink(path);
}

int forwards_hand(struct cli *cli, const struct forwards *f, int sock, const char *vm)
{
	size_t n = json_object_array_length(f->handed), done;
	int status = 0;

	for (done = 0; done < n && !status; done++)
		status = hand(cli, json_object_array_get_idx(f->handed, done), sock, vm);
	if (status)
		for (done--; done > 0; done--)
			take_back(cli, json_object_array_get_idx(f->handed, done - 1), vm);
	return status;
}

static bool is_preset(const char *word)
{
	return !strcmp(word, "open") || !strcmp(word, "public") || !strcmp(word, "none");
}

int policy_load(struct cli *cli, const char *word, const char *field, struct json_object **out)
{
	char *text = NULL;
	size_t len;
	int err;

	if (is_preset(word)) {
		*out = json_object_new_string(word);
		return 0;
	}
	err = file_read(word, POLICY_MAX, &text, &len);
	if (err == -EFBIG)
		return cli_error(
			cli, STATUS_FAILURE, "policy %s: more than %zu bytes", word, POLICY_MAX);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE,
			"policy %s: %s (and no preset: open, public, none)", word, strerror(-err));
	*out = document_parse(cli, "policy ", word, text);
	document_remember(cli, word, text, field);
	return *out ? 0 : STATUS_FAILURE;
}

static struct json_object *link_of(struct json_object *body)
{
	struct json_object *link = doc_get(body, "link");

	if (!link) {
		link = json_object_new_object();
		json_object_object_add(body, "link", link);
	}
	return link;
}

int vm_body_ttl(const struct cli *cli, struct json_object *body, const char *text)
{
	uint64_t seconds;

	if (duration_parse(text, &seconds) < 0)
		return cli_usage_error(
			cli, "--ttl %s: a duration like 90s, 10m or 1h30m is wanted", text);
	doc_put_int(body, "ttl", (int64_t)seconds);
	return 0;
}

int vm_body_option(struct cli *cli, struct json_object *body, struct forwards *forwards,
	const struct given *given)
{
	struct json_object *policy = NULL;
	long mtu;
	int status;

	switch (given->id) {
	case OPT_MTU:
		status = parse_bounded(cli, "--mtu", given->value, 576, 65520, &mtu);
		if (!status)
			doc_put_int(link_of(body), "mtu", mtu);
		return status;
	case OPT_POLICY:
		status = policy_load(cli, given->value, "policy.", &policy);
		if (!status)
			json_object_object_add(body, "policy", policy);
		return status;
	case OPT_HOST_ACCESS:
		doc_put_bool(body, "host_access", true);
		return 0;
	case OPT_FORWARD:
		return forwards_add(cli, forwards, given->value);
	default:
		return limit_option_take(cli, body, given);
	}
}
