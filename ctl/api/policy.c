/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/policy, …/check and …/stats. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"
#include "ctl/hosts.h"
#include "ctl/json_read.h"
#include "ctl/vm_proxy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Strong: of what was written, whole. */
static void tag(struct api_request *request, const struct vm *vm)
{
	snprintf(request->etag, sizeof(request->etag), "\"%016" PRIx64 "\"",
		policy_number(vm->policy));
}

static bool is_as_it_was(struct api_request *request, const struct vm *vm)
{
	char what[VM_NAME_MAX + 32];

	tag(request, vm);
	snprintf(what, sizeof(what), "VM %s: the policy", vm->config.name);
	return api_if_match(request, request->etag, what);
}

void api_policy_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (!vm)
		return;
	tag(request, vm);
	api_reply(request, 200, json_object_get(policy_doc(vm->policy)));
}

void api_policy_put(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	int cut = vm ? api_query_bool(request, "cut_existing") : -1;
	struct waiting *waiting;
	struct policy *policy;
	struct error err;

	if (cut < 0)
		return;
	policy = policy_read(request->body, "", &err);
	if (!policy) {
		api_problem(request, &err);
		return;
	}
	if (!is_as_it_was(request, vm)) {
		policy_free(policy);
		return;
	}
	waiting = waiting_new(request);
	if (!waiting) {
		policy_free(policy);
	} else if (vm_set_policy(vm, policy, cut, waiting_completion(waiting), &err) < 0) {
		waiting_problem(waiting, &err);
		policy_free(policy);
	} else {
		tag(request, vm);
		waiting_reply(waiting, 200, json_object_get(policy_doc(vm->policy)), NULL, NULL);
	}
}

static void worker_failed(struct api_request *request, const char *text)
{
	struct error err;

	error_set(&err, 503, NULL, "VM %s: worker: %s", request->parts[0], text);
	api_problem(request, &err);
}

/* ---- why ---- */

/* Of the VM as it is by now; the worker was asked meanwhile. */
static void reply_explained(struct api_request *request, struct policy_question *question,
	const char *const *names, size_t n)
{
	const struct vm *vm = api_vm(request);

	if (!vm)
		return;
	question->vouched = hosts_have(vm->hosts, question->name, &question->to) ||
		(vm_fake_ip(vm) && vm_addr_is_fake(&question->to));
	question->dns_answers = vm->config.answer_unlisted ||
		hosts_have(vm->hosts, question->name, NULL);
	api_reply(request, 200,
		policy_explain(vm->policy, vm->table, &vm->config.gateway, vm->config.host_access,
			question, names, n));
}

static void on_names(void *arg, int code, const char *text, const char *const *names, size_t n)
{
	struct api_request *request = arg;
	struct policy_question question;
	struct error err;

	/* One of an earlier release knows no names. */
	if (code < 0 && code != -ENOSYS)
		worker_failed(request, text);
	else if (policy_question_read(request->body, &question, &err) < 0)
		api_problem(request, &err); /* it was read before */
	else
		reply_explained(request, &question, names, n);
}

void api_policy_check(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct policy_question question;
	struct worker_client *client;
	struct error err;

	if (!vm)
		return;
	if (policy_question_read(request->body, &question, &err) < 0) {
		api_problem(request, &err);
		return;
	}
	client = vm_worker(vm);
	if (client && !*question.name)
		worker_client_addr_names(client,
			&(struct policy_flow){&question.to, question.port, question.proto},
			on_names, request);
	else
		reply_explained(request, &question, NULL, 0);
}

/* ---- counters ---- */

static struct json_object *count_json(const struct worker_policy_count *count)
{
	struct json_object *doc = json_object_new_object();

	json_put_int(doc, "flows", count ? (int64_t)count->flows : 0);
	json_put_int(doc, "tx_bytes", count ? (int64_t)count->tx_bytes : 0);
	json_put_int(doc, "rx_bytes", count ? (int64_t)count->rx_bytes : 0);
	json_put_int(doc, "refusals", count ? (int64_t)count->refusals : 0);
	return doc;
}

/* counts of a worker whose policy has other rules (it is just changing) are none. */
static void on_counts(
	void *arg, int code, const char *text, const struct worker_policy_count *counts, size_t n)
{
	static const char *const others[WORKER_POLICY_OTHERS] = {
		"default", "preset", "host_access"};
	struct api_request *request = arg;
	struct json_object *doc, *rules;
	const struct vm *vm;
	size_t n_rules;

	if (code < 0) {
		worker_failed(request, text);
		return;
	}
	vm = api_vm(request);
	if (!vm)
		return;
	n_rules = policy_rules(vm->policy);
	if (n != n_rules + WORKER_POLICY_OTHERS)
		counts = NULL;
	doc = json_object_new_object();
	rules = json_object_new_array();
	for (size_t i = 0; i < n_rules; i++)
		json_object_array_add(rules, count_json(counts ? &counts[i] : NULL));
	json_object_object_add(doc, "rules", rules);
	for (size_t i = 0; i < WORKER_POLICY_OTHERS; i++)
		json_object_object_add(
			doc, others[i], count_json(counts ? &counts[n_rules + i] : NULL));
	api_reply(request, 200, doc);
}

void api_policy_stats(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct worker_client *client = vm ? vm_worker(vm) : NULL;

	if (client)
		worker_client_policy_counts(client, on_counts, request);
	else if (vm)
		on_counts(request, 0, "", NULL, 0);
}
