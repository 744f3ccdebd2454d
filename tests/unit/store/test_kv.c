/* unit/store/test_kv.c - keys and values: the table alone, then through both engines, restarts and logs that are written anew. */
#include "store/kv.h"

#include "store/record.h"
#include "store/rig.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
get(const struct kv *kv, const char *space, const char *key, int64_t now)
{
	static char out[64];
	struct kv_entry e;

	if (!kv_get(kv, space, key, now, &e))
		return "none";
	snprintf(out, sizeof out, "%llu:%.*s", (unsigned long long)e.version, (int)e.value.n, (const char *)e.value.p);
	return out;
}

static void
set(struct kv *kv, const char *space, const char *key, uint64_t version, int64_t expires, const char *value)
{
	CU_ASSERT_EQUAL_FATAL(kv_set(kv, space, key, version, expires, span_str(value)), 0);
}

static void
test_table(void)
{
	struct kv *kv = kv_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(kv);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", 0), "none");
	CU_ASSERT_EQUAL(kv_next_version(kv), 1);
	set(kv, "s", "k", 7, 0, "seven");
	set(kv, "t", "k", 3, 0, "");
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", INT64_MAX), "7:seven");
	CU_ASSERT_STRING_EQUAL(get(kv, "t", "k", 0), "3:");
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "K", 0), "none");
	CU_ASSERT_EQUAL(kv_next_version(kv), 8);
	set(kv, "s", "k", 6, 0, "older"); /* read from an older log */
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", 0), "7:seven");
	set(kv, "s", "k", 8, -1, "");
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", 0), "none");
	set(kv, "s", "k", 5, 0, "older"); /* does not come back */
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", 0), "none");
	kv_free(&kv);
	CU_ASSERT_PTR_NULL(kv);
	kv_free(&kv);
}

static void
test_expiry(void)
{
	struct kv *kv = kv_new();

	set(kv, "s", "a", 1, 100, "x");
	set(kv, "s", "b", 2, 0, "y");
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "a", 99), "1:x");
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "a", 100), "none");
	kv_sweep(kv, 99, 1024);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "a", 99), "1:x");
	kv_sweep(kv, 100, 1024);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "a", 99), "none"); /* forgotten */
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "b", 100), "2:y");
	set(kv, "s", "c", 3, 50, "z");
	kv_sweep(kv, 100, 1024);
	CU_ASSERT_EQUAL(kv_next_version(kv), 4); /* no version is given twice */
	kv_free(&kv);
}

/* What was there before a change that did not come about. */
static void
test_undo(void)
{
	struct kv *kv = kv_new();
	struct kv_entry before;
	char copy[] = "one";

	set(kv, "s", "k", 1, 0, copy);
	CU_ASSERT_TRUE(kv_get(kv, "s", "k", 0, &before));
	before.value = span_str(copy);
	set(kv, "s", "k", 2, 0, "two");
	kv_undo(kv, "s", "k", &before);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "k", 0), "1:one");
	set(kv, "s", "new", 3, 0, "x");
	kv_undo(kv, "s", "new", NULL);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "new", 0), "none");
	kv_undo(kv, "nowhere", "k", NULL);
	kv_free(&kv);
}

static void
test_names_and_limits(void)
{
	char text[STORE_VALUE_MAX + 2];

	memset(text, 'a', sizeof text);
	CU_ASSERT_TRUE(kv_space_ok((struct span){ (uint8_t *)text, STORE_SPACE_MAX }));
	CU_ASSERT_FALSE(kv_space_ok((struct span){ (uint8_t *)text, STORE_SPACE_MAX + 1 }));
	CU_ASSERT_TRUE(kv_key_ok((struct span){ (uint8_t *)text, STORE_KEY_MAX }));
	CU_ASSERT_FALSE(kv_key_ok((struct span){ (uint8_t *)text, STORE_KEY_MAX + 1 }));
	CU_ASSERT_TRUE(kv_value_ok((struct span){ (uint8_t *)text, STORE_VALUE_MAX }));
	CU_ASSERT_FALSE(kv_value_ok((struct span){ (uint8_t *)text, STORE_VALUE_MAX + 1 }));
	CU_ASSERT_FALSE(kv_space_ok(span_str("")));
	CU_ASSERT_FALSE(kv_space_ok(span_str("a/b")));
	CU_ASSERT_FALSE(kv_space_ok(span_str("A")));
	CU_ASSERT_FALSE(kv_key_ok(span_str("")));
	CU_ASSERT_FALSE(kv_key_ok(span_str("a\nb")));
	CU_ASSERT_FALSE(kv_key_ok((struct span){ (const uint8_t *)"a\0b", 3 }));
	CU_ASSERT_FALSE(kv_value_ok((struct span){ (const uint8_t *)"\0", 1 }));
	CU_ASSERT_TRUE(kv_value_ok(span_str("")));
}

/* The table takes so many keys, then no more; and again when some have expired. */
static void
test_full(void)
{
	struct kv *kv = kv_new();
	char key[24];
	uint32_t i;

	for (i = 0; i < KV_KEYS_MAX; i++) {
		snprintf(key, sizeof key, "%x", i);
		if (kv_set(kv, "s", key, i + 1, i % 2 == 0 ? 10 : 0, span_str("")) != 0)
			break;
	}
	CU_ASSERT_EQUAL_FATAL(i, KV_KEYS_MAX);
	CU_ASSERT_EQUAL(kv_set(kv, "s", "one too many", i + 1, 0, span_str("")), PT_EFULL);
	CU_ASSERT_EQUAL(kv_set(kv, "s", "1", i + 1, 0, span_str("changed")), 0); /* what is there may change */
	kv_sweep(kv, 11, 4 * KV_KEYS_MAX);
	CU_ASSERT_EQUAL(kv_set(kv, "s", "one more", i + 2, 0, span_str("")), 0);
	CU_ASSERT_STRING_EQUAL(get(kv, "s", "0", 5), "none");
	kv_free(&kv);
}

static void
test_octets(void)
{
	static uint8_t value[STORE_VALUE_MAX];
	struct kv *kv = kv_new();
	char key[24];
	uint32_t i;
	int rc = 0;

	memset(value, 'v', sizeof value);
	for (i = 0; rc == 0 && i < 2 * KV_OCTETS_MAX / STORE_VALUE_MAX; i++) {
		snprintf(key, sizeof key, "%x", i);
		rc = kv_set(kv, "s", key, i + 1, 10, (struct span){ value, sizeof value });
	}
	CU_ASSERT_EQUAL(rc, PT_EFULL);
	CU_ASSERT(i > KV_OCTETS_MAX / STORE_VALUE_MAX * 9 / 10);
	CU_ASSERT_EQUAL(kv_set(kv, "s", "0", i + 2, -1, (struct span){ NULL, 0 }), 0); /* a key can always go */
	kv_sweep(kv, 11, 1u << 20);
	CU_ASSERT_EQUAL(kv_set(kv, "s", "one more", i + 3, 0, (struct span){ value, sizeof value }), 0);
	kv_free(&kv);
}

static void
test_spaces(void)
{
	struct kv *kv = kv_new();
	char space[8];
	int i, rc = 0;

	for (i = 0; i < 100 && rc == 0; i++) {
		snprintf(space, sizeof space, "s%d", i);
		rc = kv_set(kv, space, "k", 1, 0, span_str("v"));
	}
	CU_ASSERT_EQUAL(rc, PT_EFULL);
	CU_ASSERT_EQUAL(i, 33);
	kv_free(&kv);
}

/* Written anew: what is there, and the highest version even of what has gone. */
static void
test_compact(void)
{
	char space[STORE_SPACE_MAX + 1], key[16];
	struct record_line line;
	struct kv *kv = kv_new();
	struct buf out;
	struct span s;
	unsigned i, n[2] = { 0, 0 };
	bool bad;

	buf_init(&out, 1u << 20);
	for (i = 0; i < 3000; i++) {
		snprintf(key, sizeof key, "k%u", i % 10);
		set(kv, "s", key, i + 1, i % 10 == 4 ? 50 : 0, "v");
	}
	set(kv, "s", "k3", i + 1, -1, "");
	set(kv, "t", "other", 2, 0, "");
	CU_ASSERT_TRUE_FATAL(kv_compact(kv, 100, space, &out));
	CU_ASSERT_STRING_EQUAL(space, "s");
	for (s = buf_span(&out); record_next(&s, &line, &bad);)
		n[line.kind == 'v']++;
	CU_ASSERT_FALSE(bad);
	CU_ASSERT_EQUAL(n[0], 8);
	CU_ASSERT_EQUAL(n[1], 1);
	CU_ASSERT_FALSE(kv_compact(kv, 100, space, &out));
	buf_fini(&out);
	kv_free(&kv);
}

/* --- through an engine ------------------------------------------------------------------------------------------ */

static enum store_rc
put(struct rig *r, const char *key, const char *value, uint64_t expect, uint32_t ttl, uint64_t *version)
{
	struct rig_reply p = rig_commit(r, rig_put("greylist", key, value, expect, ttl));

	*version = p.id;
	return p.rc;
}

static const char *
there(struct rig *r, const char *key)
{
	static char out[64];
	struct kv_entry e;

	if (!mailboxes_key(r->mbs, "greylist", key, &e))
		return "none";
	snprintf(out, sizeof out, "%.*s", (int)e.value.n, (const char *)e.value.p);
	return out;
}

static void
do_cas(struct rig *r)
{
	uint64_t a, b, none;

	rig_clock = 1000000;
	CU_ASSERT_EQUAL(put(r, "k", "one", 0, 60, &a), STORE_OK);
	CU_ASSERT_EQUAL(put(r, "k", "no", 0, 0, &none), STORE_EXISTS);
	CU_ASSERT_EQUAL(put(r, "k", "no", a + 1, 0, &none), STORE_CONFLICT);
	CU_ASSERT_EQUAL(put(r, "other", "no", a, 0, &none), STORE_CONFLICT);
	CU_ASSERT_EQUAL(put(r, "k", "two", a, 60, &b), STORE_OK);
	CU_ASSERT(b > a);
	CU_ASSERT_EQUAL(put(r, "k", "no", a, 0, &none), STORE_CONFLICT);
	rig_restart(r);
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "two");
	CU_ASSERT_EQUAL(put(r, "k", NULL, a, 0, &none), STORE_CONFLICT);
	rig_clock += 59;
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "two");
	rig_clock += 1; /* expired: as if it were not there */
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "none");
	CU_ASSERT_EQUAL(put(r, "k", "no", b, 0, &none), STORE_CONFLICT);
	rig_restart(r);
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "none");
	CU_ASSERT_EQUAL(put(r, "k", "new", 0, 0, &none), STORE_OK);
	CU_ASSERT(none > b);
	rig_clock = 0;
}

/* A change that the engine refuses leaves the one before. */
static void
do_refused(struct rig *r)
{
	uint64_t v;

	CU_ASSERT_EQUAL(put(r, "k", "one", 0, 0, &v), STORE_OK);
	if (r->kind != RIG_MEMORY)
		return;
	memory_inject(r->be, MEMORY_COMMIT, STORE_TEMP, 1);
	CU_ASSERT_EQUAL(put(r, "k", "two", v, 0, &v), STORE_TEMP);
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "one");
	memory_inject(r->be, MEMORY_COMMIT, STORE_TEMP, 1);
	CU_ASSERT_EQUAL(put(r, "new", "x", 0, 0, &v), STORE_TEMP);
	CU_ASSERT_STRING_EQUAL(there(r, "new"), "none");
}

/* One of several parts cannot be: the others are as they were, also those that come behind it. */
static void
do_part(struct rig *r)
{
	struct rig_reply p;
	char space[8];
	uint64_t v;
	struct mb_txn *t;
	struct mb_op *op;
	int i;

	CU_ASSERT_EQUAL(put(r, "k", "one", 0, 0, &v), STORE_OK);
	for (i = 0; i < 31; i++) {
		snprintf(space, sizeof space, "s%d", i);
		CU_ASSERT_EQUAL(rig_commit(r, rig_put(space, "k", "v", 0, 0)).rc, STORE_OK);
	}
	t = rig_put("one-too-many", "k", "v", 0, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(op = mb_txn_op(t));
	op->kind = MB_PUT;
	strcpy(op->space, "greylist");
	op->name = strdup("k");
	op->expect = STORE_ANY_VERSION; /* it goes */
	p = rig_commit(r, t);
	CU_ASSERT_EQUAL(p.rc, STORE_FULL);
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "one");
	rig_restart(r);
	CU_ASSERT_STRING_EQUAL(there(r, "k"), "one");
}

/* More changes than a log may have: it is written anew, beside the journal, and nothing is lost, torn end or not. */
static void
do_anew(struct rig *r)
{
	char key[16], value[16];
	uint64_t v = 0;
	int i;

	for (i = 0; i < 2500; i++) {
		snprintf(key, sizeof key, "k%d", i % 7);
		snprintf(value, sizeof value, "v%d", i);
		CU_ASSERT_EQUAL_FATAL(put(r, key, value, STORE_ANY_VERSION, 0, &v), STORE_OK);
	}
	rig_settle(r);
	if (r->kind == RIG_LOCAL)
		rig_shell(r, "test $(wc -l <kv/greylist.log) -lt 2000 && printf 'V greylist k1 99' >>kv/greylist.log");
	rig_restart(r);
	for (i = 0; i < 7; i++) {
		snprintf(key, sizeof key, "k%d", (2493 + i) % 7);
		snprintf(value, sizeof value, "v%d", 2493 + i);
		CU_ASSERT_STRING_EQUAL(there(r, key), value);
	}
	CU_ASSERT_EQUAL(put(r, "k1", "last", STORE_ANY_VERSION, 0, &v), STORE_OK);
	CU_ASSERT_EQUAL(v, 2501);
	rig_restart(r);
	rig_restart(r);
	CU_ASSERT_STRING_EQUAL(there(r, "k1"), "last");
}

/* The log is lost, or of an earlier day; the journal has what was put since the last checkpoint. */
static void
test_journal(void)
{
	struct rig r = { .no_checkpoints = true };
	uint64_t v;

	rig_open(&r, RIG_LOCAL);
	CU_ASSERT_EQUAL(put(&r, "a", "1", 0, 0, &v), STORE_OK);
	rig_settle(&r);
	rig_shell(&r, "cp kv/greylist.log old");
	CU_ASSERT_EQUAL(put(&r, "a", NULL, v, 0, &v), STORE_OK);
	CU_ASSERT_EQUAL(put(&r, "b", "2", 0, 0, &v), STORE_OK);
	rig_stop(&r);
	rig_shell(&r, "cp old kv/greylist.log");
	rig_start(&r);
	CU_ASSERT_STRING_EQUAL(there(&r, "a"), "none");
	CU_ASSERT_STRING_EQUAL(there(&r, "b"), "2");
	rig_stop(&r);
	rig_shell(&r, "rm kv/greylist.log");
	rig_start(&r);
	CU_ASSERT_STRING_EQUAL(there(&r, "a"), "none");
	CU_ASSERT_STRING_EQUAL(there(&r, "b"), "2");
	rig_close(&r);
}

/* An answer that was lost is given again, by the next process too. */
static void
do_again(struct rig *r)
{
	struct rig_reply p[3];
	struct mb_txn *t;
	int i;

	for (i = 0; i < 3; i++) {
		t = rig_put("greylist", "k", "v", 0, 0);
		strcpy(t->id, "ffeeddccbbaa99887766554433221100");
		p[i] = rig_commit(r, t);
		CU_ASSERT_EQUAL(p[i].rc, STORE_OK);
		CU_ASSERT_EQUAL(p[i].id, p[0].id);
		if (i == 1)
			rig_restart(r);
	}
}

static void
test_cas(void)
{
	rig_each(do_cas);
}

static void
test_refused(void)
{
	rig_each(do_refused);
}

static void
test_part(void)
{
	rig_each(do_part);
}

static void
test_anew(void)
{
	rig_each(do_anew);
}

static void
test_again(void)
{
	rig_each(do_again);
}

static const struct test_row rows[] = {
	{ "table", test_table },
	{ "expiry", test_expiry },
	{ "undo", test_undo },
	{ "names and limits", test_names_and_limits },
	{ "as many keys as may be", test_full },
	{ "as many octets as may be", test_octets },
	{ "spaces", test_spaces },
	{ "written anew", test_compact },
	{ "compare and swap", test_cas },
	{ "refused", test_refused },
	{ "a part that cannot be", test_part },
	{ "a log written anew", test_anew },
	{ "out of the journal", test_journal },
	{ "asked again", test_again },
};

TEST_MAIN("store/kv", rows)
