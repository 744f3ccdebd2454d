/* store/local_subscribe.c - the file of a user's subscriptions, changed by one name. In threads.
 *
 * It is written anew beside the old one and takes its place when it has been flushed: the names that nobody has touched since the last
 * checkpoint are nowhere else. Who applies does not wait for that flush (local_settle.c). One that cannot be read is left
 * alone, and the change is tried again. */
#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUBSCRIPTIONS "subscriptions"
#define SUBSCRIPTIONS_NEW SUBSCRIPTIONS ".new"
#define SUBSCRIPTIONS_MAX (64u << 20) /* more than there can be (STORE_BOXES_MAX): what others wrote there stays */

/* Others may write INBOX as they like. */
static bool
is_name(struct span line, struct span key)
{
	return span_equal(line, key) || (span_is_nocase(key, "INBOX") && span_is_nocase(line, "INBOX"));
}

/* All of it, without the name; *there_out: it has it. */
static int
read_others(struct box *b, struct span key, struct buf *out, bool *there_out)
{
	int fd = maildir_open(b->dir_fd, SUBSCRIPTIONS, O_RDONLY), rc;
	struct span s, line;
	const uint8_t *nl;
	uint8_t *old;

	*there_out = false;
	if (fd < 0)
		return fd == PT_ENOENT ? 0 : fd;
	rc = read_whole(fd, &old, &s.n);
	close(fd);
	for (s.p = old; rc == 0 && s.n > 0; s.p += line.n, s.n -= line.n) {
		nl = memchr(s.p, '\n', s.n);
		line = (struct span){ s.p, nl == NULL ? s.n : (size_t)(nl - s.p) };
		if (is_name(line, key))
			*there_out = true;
		else if (line.n > 0 && (rc = buf_append(out, line.p, line.n)) == 0)
			rc = buf_append(out, "\n", 1);
		line.n += nl != NULL;
	}
	free(old);
	return rc;
}

static int
write_beside(struct apply_job *aj, struct box *b, struct span text)
{
	int fd = maildir_open(b->dir_fd, SUBSCRIPTIONS_NEW, O_WRONLY | O_CREAT | O_TRUNC), rc;

	if (fd < 0)
		return fd;
	if ((rc = maildir_write(fd, text.p, text.n)) == 0)
		settle_file(aj, fd);
	else
		close(fd);
	return rc == 0 ? APPLY_WAITS : rc;
}

/* One name a line, in modified UTF-7, as Dovecot and Courier keep it. */
int
local_subscribe(struct apply_job *aj, const struct record_line *line)
{
	bool on = line->word[2].p[0] == '1', there;
	char key[STORE_BOX_MAX + 2];
	struct box *b = aj->box[0];
	struct buf text;
	int flushed = settle_file_end(aj), rc = box_open(aj->l, b, true);

	if (rc == 0 && flushed == 0 && renameat(b->dir_fd, SUBSCRIPTIONS_NEW, b->dir_fd, SUBSCRIPTIONS) != 0)
		rc = maildir_error(errno);
	if (rc != 0 || flushed != PT_EAGAIN)
		return rc != 0 ? rc : flushed;
	PT_ASSERT(record_word(line->word[1], key, STORE_BOX_MAX + 1));
	buf_init(&text, SUBSCRIPTIONS_MAX);
	rc = read_others(b, span_str(key), &text, &there);
	if (rc == 0 && on)
		rc = buf_printf(&text, "%s\n", key);
	if (rc == 0 && on != there)
		rc = write_beside(aj, b, buf_span(&text));
	buf_fini(&text);
	return rc;
}
