/* store/local_subscribe.c - the file of a user's subscriptions, changed by one name. In threads. */
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
#define SUBSCRIPTIONS_MAX (1u << 20)

/* One name a line, in modified UTF-7, as Dovecot and Courier keep it. */
int
local_subscribe(struct local *l, struct box *b, const struct record_line *line)
{
	char key[STORE_BOX_MAX + 2];
	struct buf text;
	struct span s;
	const uint8_t *nl;
	uint8_t *old = NULL;
	ssize_t n = 0;
	int fd, rc;

	PT_ASSERT(record_word(line->word[1], key, STORE_BOX_MAX + 1));
	buf_init(&text, SUBSCRIPTIONS_MAX + sizeof key);
	if ((rc = box_open(l, b, true)) != 0)
		return rc;
	if ((old = malloc(SUBSCRIPTIONS_MAX)) == NULL)
		return PT_ENOMEM;
	if ((fd = maildir_open(b->dir_fd, SUBSCRIPTIONS, O_RDONLY)) >= 0) {
		n = pread(fd, old, SUBSCRIPTIONS_MAX, 0);
		close(fd);
	}
	for (s = (struct span){ old, n < 0 ? 0 : (size_t)n }; s.n > 0 && rc == 0;) {
		nl = memchr(s.p, '\n', s.n);
		fd = nl == NULL ? (int)s.n : (int)(nl - s.p);
		if (!span_equal((struct span){ s.p, (size_t)fd }, span_str(key)) && fd > 0)
			rc = buf_printf(&text, "%.*s\n", fd, (const char *)s.p);
		s.n -= (size_t)fd + (nl != NULL);
		s.p += fd + (nl != NULL);
	}
	if (rc == 0 && line->word[2].p[0] == '1')
		rc = buf_printf(&text, "%s\n", key);
	if (rc == 0 && (fd = maildir_open(b->dir_fd, SUBSCRIPTIONS ".new", O_WRONLY | O_CREAT | O_TRUNC)) >= 0) {
		rc = maildir_write(fd, buf_span(&text).p, buf_size(&text));
		/* what it replaces was flushed long ago, and the journal has only the last changes: the names that nobody has
		 * touched since are nowhere else */
		if (rc == 0 && fdatasync(fd) != 0)
			rc = PT_EIO;
		close(fd);
		if (rc == 0 && renameat(b->dir_fd, SUBSCRIPTIONS ".new", b->dir_fd, SUBSCRIPTIONS) != 0)
			rc = maildir_error(errno);
	} else if (rc == 0) {
		rc = fd;
	}
	free(old);
	buf_fini(&text);
	return rc;
}
