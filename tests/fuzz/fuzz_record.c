/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a snapshot's file; and, where they are JSON, as a change (RFC 7396) to a good one that is
 * signed anew, as an enemy would. What is taken must read back as the same.
 */
#include "ctl/json_read.h"
#include "ctl/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char good[] =
	"{\"record_version\":1,\"vm\":\"web\",\"name\":\"n\",\"created_ms\":1,\"cid\":3,"
	"\"net\":{\"subnet\":\"10.0.2.0/24\"},\"guest\":{\"mac\":\"52:54:00:00:00:02\","
	"\"lease\":{\"addr\":\"10.0.2.15\",\"mac\":\"52:54:00:00:00:02\",\"hostname\":\"g\","
	"\"since_ms\":1}},\"names\":[{\"addr\":\"192.0.2.7\",\"name\":\"a\",\"ttl_ms\":1}],"
	"\"tsi\":{\"listeners\":[{\"svm_port\":1,\"vm_port\":2,\"family\":\"ipv4\",\"type\":\"stream\","
	"\"backlog\":1,\"addr\":\"0.0.0.0\",\"port\":80}],\"proxies\":[{\"svm_port\":3,"
	"\"family\":\"ipv6\",\"peer\":\"[::1]:53\"}]},\"forwards\":[{\"listen\":{\"port\":8080},"
	"\"to\":{\"tsi\":\"first\"}},{\"listen\":{\"unix\":\"p\"},\"to\":{\"port\":80}}],"
	"\"maps\":[{\"port\":5000,\"to\":{\"unix\":\"s\"}}],\"policy\":{\"preset\":\"public\"},"
	"\"hosts\":{\"items\":[{\"name\":\"db\",\"addresses\":[\"10.0.2.9\"]}]},\"env\":{},"
	"\"secrets\":[\"A\"]}";

static void read_it(const char *text, size_t len)
{
	struct error err;
	struct record *record = record_read(text, len, &err), *again;

	if (!record)
		return;
	again = record_read(record->text, record->len, &err);
	if (!again || strcmp(again->text, record->text) != 0 || strcmp(again->id, record->id) != 0)
		abort();
	record_free(again);
	record_free(record);
}

static void sign(struct json_object *doc)
{
	char sha256[RECORD_SHA256_LEN], *text;
	size_t len;

	json_object_object_del(doc, "sha256");
	text = record_canonical(doc, &len);
	if (!text)
		abort();
	record_hash(text, len, sha256);
	free(text);
	json_put_string(doc, "sha256", sha256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	struct json_object *change, *base, *changed;
	char *text;
	size_t len;

	read_it((const char *)data, size);
	change = json_read((const char *)data, size, &err);
	if (!json_object_is_type(change, json_type_object)) {
		json_object_put(change);
		return 0;
	}
	base = json_tokener_parse(good);
	changed = json_merge_patch(base, change);
	sign(changed);
	text = record_canonical(changed, &len);
	if (!text)
		abort();
	read_it(text, len);
	free(text);
	json_object_put(changed);
	json_object_put(base);
	json_object_put(change);
	return 0;
}
