/* SPDX-License-Identifier: MIT */
/* What `netctl top` shows: the VMs' counters at two instants, and what they make a second. */
#ifndef CLI_TOP_SAMPLE_H
#define CLI_TOP_SAMPLE_H

#include "cli/cli.h"

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_NAME_LEN 64

/* What grows. */
enum top_figure {
	TOP_IN,  /* bytes to the guest, by its NIC and its vsock */
	TOP_OUT, /* and from it */
	TOP_NEW, /* flows begun */
	TOP_REFUSED,
	TOP_DROPPED,
	TOP_FIGURES
};

struct top_vm {
	char name[TOP_NAME_LEN];
	char state[16];
	int64_t flows;
	uint64_t figures[TOP_FIGURES];
	double rates[TOP_FIGURES]; /* a second, since the sample before; below 0: not known */
};

struct top_sample {
	uint64_t at; /* ms, monotonic */
	struct top_vm *vms;
	size_t n;
	double seconds; /* since the one before, 0: there was none */
};

/* Asks the daemon. 0, or an exit status with the message printed. */
int top_sample_take(struct cli *cli, struct top_sample *sample);
void top_sample_free(struct top_sample *sample);
/* The figures of a VM's /stats. */
void top_figures(struct json_object *stats, struct top_vm *vm);
/* Fills the rates. A counter that went back was a worker's that died: what its successor has is new. */
void top_sample_since(struct top_sample *sample, const struct top_sample *before);

extern const char top_sort_keys[];
/* Sorts by a key, the most first; NULL: by traffic. -EINVAL for no such key. */
int top_sample_sort(struct top_sample *sample, const char *key);

#endif
