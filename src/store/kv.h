/* store/kv.h - all keys and values in memory: spaces, versions, expiry.
 *
 * What is durable is a line for each change (store/record.h); this table is what the lines say. A space is a log of
 * its own. Not thread safe. */
#ifndef STORE_KV_H
#define STORE_KV_H

#include "store/store_types.h"

#include "util/buf.h"
#include "util/span.h"

#define KV_KEYS_MAX (1u << 20)      /* of all spaces: a hostile peer fills the disk no further */
#define KV_OCTETS_MAX (256u << 20)  /* of all keys and values */

struct kv;

struct kv_entry {
	uint64_t version;
	int64_t expires;   /* seconds since 1970; 0: never */
	struct span value; /* borrowed until the next change */
};

struct kv *kv_new(void);
void kv_free(struct kv **kv);

/* May be a space; may be a key: printable, no control characters; may be a value: no NUL. */
bool kv_space_ok(struct span space);
bool kv_key_ok(struct span key);
bool kv_value_ok(struct span value);

/* All that are in the table: with those that have gone or expired and are not yet forgotten. */
size_t kv_count(const struct kv *kv);

/* False: not there, or expired at now. */
bool kv_get(const struct kv *kv, const char *space, const char *key, int64_t now, struct kv_entry *out);

/* The version that the next change gets. */
uint64_t kv_next_version(const struct kv *kv);

/* Takes a change: a lower version than what is there is ignored. expires -1: the key goes. 0, PT_ENOMEM; PT_EFULL: a limit
 * above, or too many spaces. Nothing is changed then. */
int kv_set(struct kv *kv, const char *space, const char *key, uint64_t version, int64_t expires,
	   struct span value) PT_MUST_USE;

/* Puts back what was there before a change that was not made: e NULL: nothing was. */
void kv_undo(struct kv *kv, const char *space, const char *key, const struct kv_entry *e);

/* Forgets what is expired or has gone among the next so many places of the table; a few with each tick go round. What is
 * forgotten is in its log still, with the word that it is no more. */
void kv_sweep(struct kv *kv, int64_t now, size_t places);

/* A space whose log has many more lines than keys: its name and all its lines in out; false: there is none. Forgets
 * what is expired. */
bool kv_compact(struct kv *kv, int64_t now, char space_out[STORE_SPACE_MAX + 1], struct buf *out);

#endif
