/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration files. What is accepted prints as something that is accepted again and prints the same; what is refused says
 * why, in one line.
 */
#include "../../app/spinfsd/config.h"
#include "fuzz.h"
#include "sfs_cpus.h"

static int parse(const char *text, size_t bytes, struct spinfsd_config *cfg, struct sfs_conf_err *err)
{
	static const char *const drivers[] = {"passthrough", "mem", "null", NULL};
	struct spinfsd_host host = {.drivers = drivers};
	struct sfs_conf_doc *doc;
	int rc;

	memset(cfg, 0, sizeof(*cfg));
	memset(err, 0, sizeof(*err));
	sfs_cpus_parse("0-3", &host.allowed);
	sfs_cpus_parse("0-4", &host.online);
	rc = sfs_conf_doc_parse(text, bytes, "F", &doc, err);
	return rc ? rc : spinfsd_config_parse(doc, &host, cfg, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spinfsd_config cfg, again;
	struct sfs_conf_err err;
	json_t *first, *second;
	char *text;

	if (parse((const char *)data, size, &cfg, &err)) {
		MUST(err.text[0] && !strchr(err.text, '\n'));
		spinfsd_config_fini(&cfg);
		return 0;
	}
	first = spinfsd_config_print(&cfg);
	MUST(first);
	text = json_dumps(first, JSON_ENCODE_ANY);
	MUST(text);
	MUST(parse(text, strlen(text), &again, &err) == 0);
	second = spinfsd_config_print(&again);
	MUST(second && json_equal(first, second));
	json_decref(first);
	json_decref(second);
	free(text);
	spinfsd_config_fini(&again);
	spinfsd_config_fini(&cfg);
	return 0;
}
