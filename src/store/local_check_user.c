/* store/local_check_user.c - what belongs to a user as a whole: the count that other programs keep of a Maildir++, `maildirsize`. Postern neither
 * reads nor writes it; a delivery of Postern's that is not in it lets others take in too much, or refuse. */
#include "store/local.h"

#include "store/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNT_FILE "maildirsize"
#define COUNT_MAX 65536 /* octets: it is written anew above 5,120 */
#define YOUNG_S 60      /* a program may have brought a message and not yet counted it */

struct sum {
	int64_t octets, messages;
};

struct sums {
	struct sum least, most; /* without and with what some count and some do not: Trash, messages that are marked deleted or young */
	time_t now;
};

/* --- what there is --------------------------------------------------------------------------------------------------- */

static void
add(struct sum *s, int64_t octets)
{
	s->octets += octets;
	s->messages++;
}

static void
sum_file(struct sums *s, int fd, const char *name, bool trash)
{
	struct maildir_name m;
	struct stat st;
	int64_t octets;

	if (name[0] == '.' || !maildir_name_parse(span_str(name), &m) || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(st.st_mode))
		return;
	octets = m.has_size && m.size <= INT64_MAX / 2 ? (int64_t)m.size : st.st_size;
	add(&s->most, octets);
	if (!trash && !(m.flags & STORE_DELETED) && s->now - st.st_ctime >= YOUNG_S)
		add(&s->least, octets);
}

static int
sum_part(struct sums *s, int box_fd, const char *part, bool trash)
{
	int fd = openat(box_fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc;
	struct dirent *e;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		rc = errno == ENOENT ? 0 : PT_EIO;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while ((errno = 0, e = readdir(dir)) != NULL)
		sum_file(s, fd, e->d_name, trash);
	rc = errno != 0 ? PT_EIO : 0;
	closedir(dir);
	return rc;
}

static int
sum_box(struct sums *s, int user_fd, const char *folder)
{
	bool trash = strcasecmp(folder, ".Trash") == 0 || strncasecmp(folder, ".Trash.", 7) == 0;
	int fd = openat(user_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : PT_EIO;
	if ((rc = sum_part(s, fd, "new", trash)) == 0)
		rc = sum_part(s, fd, "cur", trash);
	close(fd);
	return rc;
}

static int
sum_user(struct sums *s, int user_fd)
{
	int fd = openat(user_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	struct dirent *e;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return PT_EIO;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		if (e->d_name[0] == '.' && strcmp(e->d_name, "..") != 0)
			rc = sum_box(s, user_fd, e->d_name);
	if (rc == 0 && errno != 0)
		rc = PT_EIO;
	closedir(dir);
	return rc;
}

/* --- what the file says ---------------------------------------------------------------------------------------------- */

static bool
take_number(struct span *s, int64_t *out)
{
	bool minus;
	int64_t v = 0;
	size_t i = 0, n;

	while (i < s->n && (s->p[i] == ' ' || s->p[i] == '\t'))
		i++;
	minus = i < s->n && s->p[i] == '-';
	n = i += minus;
	for (; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s->p[i] - '0', &v))
			return false;
	*out = minus ? -v : v;
	s->p += i;
	s->n -= i;
	return i > n;
}

/* A line with the quota, then a line for each change: octets and messages. false: it is none. */
static bool
read_count(struct span text, struct sum *out)
{
	const uint8_t *nl = text.n == 0 ? NULL : memchr(text.p, '\n', text.n);
	int64_t octets, messages;

	*out = (struct sum){ 0, 0 };
	if (nl == NULL)
		return false;
	for (;;) {
		text.n -= (size_t)(nl - text.p) + 1;
		text.p = nl + 1;
		if (text.n == 0 || (nl = memchr(text.p, '\n', text.n)) == NULL)
			return true; /* the last may be being written */
		if (!take_number(&text, &octets) || !take_number(&text, &messages) ||
		    __builtin_add_overflow(out->octets, octets, &out->octets) ||
		    __builtin_add_overflow(out->messages, messages, &out->messages))
			return false;
	}
}

static bool
between(int64_t least, int64_t v, int64_t most)
{
	return least <= v && v <= most;
}

static void
compare(struct box *b, struct checking *c, struct span text)
{
	struct sums s = { .now = time(NULL) };
	struct store_finding *f;
	struct sum says;
	bool is_one = read_count(text, &says);

	if (is_one && (c->rc = sum_user(&s, b->dir_fd)) != 0)
		return;
	if (is_one && between(s.least.octets, says.octets, s.most.octets) &&
	    between(s.least.messages, says.messages, s.most.messages))
		return;
	if (is_one)
		f = check_found(c, "maildirsize", STORE_FIX_COUNT_FILE, "Maildir/" COUNT_FILE ", by which other programs count, says %lld octets in "
			"%lld messages, and there are %lld in %lld", (long long)says.octets, (long long)says.messages,
			(long long)s.most.octets, (long long)s.most.messages);
	else
		f = check_found(c, "maildirsize", STORE_FIX_COUNT_FILE, "Maildir/" COUNT_FILE ", by which other programs count, cannot be read as "
			"such");
	if (c->tidy && f != NULL)
		f->mended = unlinkat(b->dir_fd, COUNT_FILE, 0) == 0;
}

void
check_user(struct box *b, struct checking *c)
{
	int fd = maildir_open(b->dir_fd, COUNT_FILE, O_RDONLY);
	uint8_t *text = NULL;
	struct span s;
	struct stat st;

	if (fd < 0)
		return; /* hardly anybody has it */
	if (fstat(fd, &st) == 0 && time(NULL) - st.st_mtime >= YOUNG_S && st.st_size <= COUNT_MAX &&
	    read_whole(fd, &text, &s.n) == 0) {
		s.p = text;
		compare(b, c, s);
	}
	close(fd);
	free(text);
}
