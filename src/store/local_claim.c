/* store/local_claim.c - replay: which file is which message. In threads. */
#include "store/local_apply.h"

#include "store/uidset.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
claim(struct box *b, const struct index_line *x)
{
	struct name *e = names_find(b->names, x->text);

	if (e == NULL)
		return;
	names_set_uid(b->names, e, x->uid);
	names_ours(e, x->flags, x->where);
}

/* A name that the log gives, or gave: what it has now is of our making, unless somebody did the same. */
static void
claim_flags(struct box *b, const struct index_line *x)
{
	struct span set = x->text;
	struct uidset_range g;
	struct name *e;
	uint64_t uid;

	while (uidset_next(&set, &g))
		for (uid = g.first; uid <= g.last; uid++)
			if ((e = names_find_uid(b->names, (uint32_t)uid)) != NULL)
				names_ours(e, x->flags, 0);
}

static int
forget_uid(void *arg, struct name *e)
{
	names_set_uid(arg, e, 0);
	return 0;
}

void
claim_none(struct box *b)
{
	if (b->names != NULL)
		names_each(b->names, forget_uid, b->names);
}

/* The names that the index has say which UID they are, also of messages that are gone from it. What is damaged is passed over. */
static int
claim_all(struct box *b)
{
	struct index_line x;
	const uint8_t *nl;
	struct span s;
	uint8_t *text;
	size_t used;
	bool bad;
	int rc = read_whole(b->index_fd, &text, &s.n);

	if (rc != 0)
		return rc;
	names_each(b->names, forget_uid, b->names);
	for (s.p = text; s.n > 0; s.p += used, s.n -= used) {
		if ((used = index_line_parse(s, &x, &bad)) > 0) {
			if (x.kind == '+')
				claim(b, &x);
			else if (x.kind == '=')
				claim_flags(b, &x);
			continue;
		}
		if ((nl = memchr(s.p, '\n', s.n)) == NULL)
			break;
		used = (size_t)(nl - s.p) + 1;
	}
	free(text);
	return 0;
}

/* Lines are added to a damaged index, whole ones: the last of what is there may have no end. */
static int
end_line(struct box *b)
{
	struct stat st;
	char last;

	if (fstat(b->index_fd, &st) != 0 || st.st_size == 0 || pread(b->index_fd, &last, 1, st.st_size - 1) != 1)
		return PT_EIO;
	return last == '\n' ? 0 : maildir_write(b->index_fd, (const uint8_t *)"\n", 1);
}

int
prepare_replay(struct run *r, struct box *b)
{
	struct index x;
	int rc;

	if (b->names != NULL)
		return 0;
	b->uidnext = 0;
	b->modseq = 0;
	b->damaged = false;
	if (b->index_fd >= 0) {
		if ((rc = box_index(r->l, b, true, &x, &b->damaged)) != 0)
			return rc;
		b->uidnext = x.uidvalidity != 0 ? x.uidnext : 0;
		b->modseq = x.modseq;
		memcpy(b->id, x.id, sizeof b->id);
		index_fini(&x);
		if (b->damaged && (rc = end_line(b)) != 0)
			return rc;
	}
	if ((rc = names_read(b->dir_fd, &b->names)) == 0 && b->uidnext != 0)
		rc = claim_all(b);
	return rc;
}

bool
is_same_box(struct run *r, struct box *b, struct span id)
{
	return box_open(r->l, b, false) == 0 && prepare_replay(r, b) == 0 && b->uidnext != 0 &&
		span_equal(id, span_str(b->id));
}
