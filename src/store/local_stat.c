/* store/local_stat.c - how the local engine stands, for an operator. Waits for nothing. */
#include "store/local.h"

#include <sys/statvfs.h>

static uint64_t
stuck_boxes(const struct local *l)
{
	const struct box *b;
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < l->nhash; i++)
		for (b = l->hash[i]; b != NULL; b = b->hash_next)
			n += b->stuck > 0 && b->user[0] != '\0' && b->key[0] != '\0';
	return n;
}

static void
space(const struct local *l, struct store_standing *out)
{
	struct statvfs v;

	out->margin_octets = l->conf.margin_octets;
	out->margin_inodes = l->conf.margin_inodes;
	if (fstatvfs(l->conf.mail_fd, &v) != 0)
		return;
	if ((out->has_octets = v.f_blocks > 0))
		out->free_octets = (uint64_t)v.f_bavail * v.f_frsize;
	if ((out->has_inodes = v.f_files > 0))
		out->free_inodes = v.f_favail;
}

void
local_stat(struct store_backend *be, struct store_standing *out)
{
	const struct local *l = (const struct local *)be;
	uint64_t behind = l->synced > l->was_synced ? l->synced : l->was_synced;
	const struct apply *a;

	*out = (struct store_standing){ .segment_octets = l->segment_octets, .newest = journal_next(l->journal) - 1,
		.durable = behind > 0 ? behind - 1 : 0, .checkpointed = l->checkpointed, .stuck = stuck_boxes(l),
		.flushes = l->flushes };
	journal_segments(l->journal, &out->segments, &out->spare, &out->segments_max);
	TAILQ_FOREACH(a, &l->applying, next)
		out->unapplied++;
	space(l, out);
}
