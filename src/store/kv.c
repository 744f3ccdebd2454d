/* store/kv.c - a hash table of keys. */
#include "store/kv.h"

#include "store/record.h"
#include "util/err.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACES_MAX 32
#define SLACK 1000 /* lines more than twice the keys before a log is written anew */

struct entry {
	struct entry *next;
	uint64_t version;
	int64_t expires;
	unsigned space;
	size_t nvalue;
	uint8_t *value; /* owned */
	char key[];
};

struct space {
	char name[STORE_SPACE_MAX + 1];
	size_t keys, lines;
};

struct kv {
	struct entry **table;
	size_t size, n, octets;
	size_t swept;     /* the place where kv_sweep() goes on */
	uint64_t version; /* highest */
	struct space space[SPACES_MAX];
	unsigned nspaces;
};

struct kv *
kv_new(void)
{
	struct kv *kv = calloc(1, sizeof *kv);

	if (kv == NULL)
		return NULL;
	kv->size = 1024;
	if ((kv->table = calloc(kv->size, sizeof *kv->table)) == NULL) {
		free(kv);
		return NULL;
	}
	return kv;
}

static void
entry_free(struct entry *e)
{
	free(e->value);
	free(e);
}

void
kv_free(struct kv **kvp)
{
	struct kv *kv = *kvp;
	struct entry *e;
	size_t i;

	if (kv == NULL)
		return;
	for (i = 0; i < kv->size; i++)
		while ((e = kv->table[i]) != NULL) {
			kv->table[i] = e->next;
			entry_free(e);
		}
	free(kv->table);
	free(kv);
	*kvp = NULL;
}

bool
kv_space_ok(struct span s)
{
	size_t i;

	if (s.n == 0 || s.n > STORE_SPACE_MAX)
		return false;
	for (i = 0; i < s.n; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-'))
			return false;
	return true;
}

bool
kv_key_ok(struct span key)
{
	return key.n > 0 && key.n <= STORE_KEY_MAX && utf8_printable(key);
}

bool
kv_value_ok(struct span value)
{
	return value.n <= STORE_VALUE_MAX && (value.n == 0 || memchr(value.p, '\0', value.n) == NULL);
}

static size_t
hash_of(unsigned space, const char *key)
{
	size_t h = 14695981039346656037ull ^ space;

	for (; *key != '\0'; key++)
		h = (h ^ (uint8_t)*key) * 1099511628211ull;
	return h;
}

static int
space_of(const struct kv *kv, const char *name)
{
	unsigned i;

	for (i = 0; i < kv->nspaces; i++)
		if (strcmp(kv->space[i].name, name) == 0)
			return (int)i;
	return -1;
}

static struct entry **
find(const struct kv *kv, unsigned space, const char *key)
{
	struct entry **at = &kv->table[hash_of(space, key) % kv->size];

	while (*at != NULL && ((*at)->space != space || strcmp((*at)->key, key) != 0))
		at = &(*at)->next;
	return at;
}

size_t
kv_count(const struct kv *kv)
{
	return kv->n;
}

bool
kv_get(const struct kv *kv, const char *space, const char *key, int64_t now, struct kv_entry *out)
{
	int s = space_of(kv, space);
	const struct entry *e;

	if (s < 0 || (e = *find(kv, (unsigned)s, key)) == NULL || e->expires < 0 ||
	    (e->expires > 0 && e->expires <= now))
		return false;
	*out = (struct kv_entry){ .version = e->version, .expires = e->expires,
		.value = { e->value, e->nvalue } };
	return true;
}

uint64_t
kv_next_version(const struct kv *kv)
{
	return kv->version + 1;
}

static void
grow(struct kv *kv)
{
	size_t size = kv->size * 2, i, at;
	struct entry **table = calloc(size, sizeof *table), *e, *next;

	if (table == NULL)
		return; /* slower, not wrong */
	for (i = 0; i < kv->size; i++)
		for (e = kv->table[i]; e != NULL; e = next) {
			next = e->next;
			at = hash_of(e->space, e->key) % size;
			e->next = table[at];
			table[at] = e;
		}
	free(kv->table);
	kv->table = table;
	kv->size = size;
}

static size_t
octets_of(const char *key, size_t nvalue)
{
	return sizeof(struct entry) + strlen(key) + 1 + nvalue;
}

static void
drop(struct kv *kv, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	kv->space[e->space].keys--;
	kv->n--;
	kv->octets -= octets_of(e->key, e->nvalue);
	entry_free(e);
}

/* The space's number, made if it is not there. */
static int
space_make(struct kv *kv, const char *name)
{
	int s = space_of(kv, name);

	if (s >= 0)
		return s;
	if (kv->nspaces == SPACES_MAX)
		return PT_EFULL;
	s = (int)kv->nspaces++;
	snprintf(kv->space[s].name, sizeof kv->space[s].name, "%s", name);
	return s;
}

static struct entry *
entry_new(struct kv *kv, unsigned space, const char *key)
{
	struct entry *e = calloc(1, sizeof *e + strlen(key) + 1);

	if (e == NULL)
		return NULL;
	memcpy(e->key, key, strlen(key) + 1);
	e->space = space;
	kv->space[space].keys++;
	kv->n++;
	kv->octets += octets_of(key, 0);
	return e;
}

/* A key that goes stays as an entry without a value (expires -1) for some time: an older line that is read later must not
 * bring it back. */
int
kv_set(struct kv *kv, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	int s = space_make(kv, space);
	struct entry **at, *e;
	uint8_t *copy;

	if (s < 0)
		return s;
	if (kv->n > kv->size)
		grow(kv);
	at = find(kv, (unsigned)s, key);
	if ((*at == NULL && kv->n >= KV_KEYS_MAX) ||
	    (value.n > 0 && kv->octets + octets_of(key, value.n) > KV_OCTETS_MAX))
		return PT_EFULL;
	if ((copy = malloc(value.n > 0 ? value.n : 1)) == NULL ||
	    (*at == NULL && (*at = entry_new(kv, (unsigned)s, key)) == NULL)) {
		free(copy);
		return PT_ENOMEM;
	}
	e = *at;
	kv->space[s].lines++;
	kv->version = version > kv->version ? version : kv->version;
	if (version < e->version) {
		free(copy);
		return 0;
	}
	free(e->value);
	if (value.n > 0)
		memcpy(copy, value.p, value.n);
	kv->octets += value.n - e->nvalue;
	e->value = copy;
	e->nvalue = value.n;
	e->version = version;
	e->expires = expires;
	return 0;
}

/* Nobody can see it any more. The highest version stays: after a restart the next must be higher. */
static bool
is_over(const struct kv *kv, const struct entry *e, int64_t now)
{
	return (e->expires < 0 || (e->expires > 0 && e->expires <= now)) && e->version != kv->version;
}

void
kv_sweep(struct kv *kv, int64_t now, size_t places)
{
	struct entry **at;

	for (; places > 0; places--) {
		kv->swept = (kv->swept + 1) % kv->size;
		for (at = &kv->table[kv->swept]; *at != NULL;)
			if (is_over(kv, *at, now))
				drop(kv, at);
			else
				at = &(*at)->next;
	}
}

void
kv_undo(struct kv *kv, const char *space, const char *key, const struct kv_entry *before)
{
	int s = space_of(kv, space);
	struct entry **at;

	if (s < 0 || *(at = find(kv, (unsigned)s, key)) == NULL)
		return;
	drop(kv, at);
	/* its memory has just been freed: this does not fail in practice, and then the key is only gone until a restart */
	if (before != NULL && kv_set(kv, space, key, before->version, before->expires, before->value) != 0)
		return;
}

static int
put(struct buf *out, const char *space, const struct entry *e)
{
	char version[24], expires[24];
	struct span words[5];

	snprintf(version, sizeof version, "%llu", (unsigned long long)e->version);
	snprintf(expires, sizeof expires, "%lld", (long long)e->expires);
	words[0] = span_str(space);
	words[1] = span_str(e->key);
	words[2] = span_str(version);
	words[3] = span_str(expires);
	words[4] = (struct span){ e->value, e->nvalue };
	return e->expires < 0 ? record_put(out, 'v', 3, words) : record_put(out, 'V', 5, words);
}

bool
kv_compact(struct kv *kv, int64_t now, char space_out[STORE_SPACE_MAX + 1], struct buf *out)
{
	struct entry **at, *e;
	unsigned s;
	size_t i;

	for (s = 0; s < kv->nspaces; s++)
		if (kv->space[s].lines > 2 * kv->space[s].keys + SLACK)
			break;
	if (s == kv->nspaces)
		return false;
	memcpy(space_out, kv->space[s].name, STORE_SPACE_MAX + 1);
	kv->space[s].lines = 0;
	for (i = 0; i < kv->size; i++)
		for (at = &kv->table[i]; (e = *at) != NULL;) {
			if (e->space == s && is_over(kv, e, now)) {
				drop(kv, at);
				continue;
			}
			if (e->space == s) {
				if (put(out, kv->space[s].name, e) != 0)
					return false;
				kv->space[s].lines++;
			}
			at = &e->next;
		}
	return true;
}
