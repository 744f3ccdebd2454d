/* store/maildir.c - see maildir.h. The way into folders is the last part. */
#include "store/maildir.h"

#include "store/hex.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- users ------------------------------------------------------------------------------------------ */

bool
maildir_user_ok(struct span user)
{
	size_t i;

	if (user.n == 0 || user.n > STORE_USER_MAX || user.p[0] == '.' || !utf8_printable(user))
		return false;
	for (i = 0; i < user.n; i++)
		if (user.p[i] == '/' || user.p[i] == ' ' || (user.p[i] >= 'A' && user.p[i] <= 'Z'))
			return false;
	return true;
}

/* --- modified UTF-7 --------------------------------------------------------------------------------- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

struct writer {
	char *p;
	size_t n, max;
	bool over;
	uint32_t bits; /* of UTF-16 not yet written */
	unsigned nbits;
	bool shifted;
};

static void
put(struct writer *w, char c)
{
	if (w->n < w->max)
		w->p[w->n++] = c;
	else
		w->over = true;
}

static void
put_utf16(struct writer *w, uint32_t unit)
{
	w->bits = w->bits << 16 | unit;
	w->nbits += 16;
	while (w->nbits >= 6) {
		w->nbits -= 6;
		put(w, base64[w->bits >> w->nbits & 63]);
		w->bits &= (1u << w->nbits) - 1;
	}
}

static void
unshift(struct writer *w)
{
	if (!w->shifted)
		return;
	if (w->nbits > 0)
		put(w, base64[w->bits << (6 - w->nbits) & 63]);
	put(w, '-');
	w->shifted = false;
	w->bits = 0;
	w->nbits = 0;
}

static uint32_t
code_point(const uint8_t *p, size_t n)
{
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	size_t i;

	for (i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

/* One character of well-formed UTF-8. */
static void
put_char(struct writer *w, const uint8_t *p, size_t n)
{
	uint32_t c = code_point(p, n);

	if (n == 1) {
		unshift(w);
		put(w, (char)c);
		if (c == '&')
			put(w, '-');
		return;
	}
	if (!w->shifted) {
		put(w, '&');
		w->shifted = true;
	}
	if (c > 0xffff) {
		put_utf16(w, 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	put_utf16(w, c);
}

bool
maildir_key(struct span name, char *key)
{
	struct writer w = { .p = key, .max = STORE_BOX_MAX };
	size_t i, n;

	if (span_is_nocase(name, "INBOX")) {
		memcpy(key, "INBOX", 6);
		return true;
	}
	if (name.n == 0 || name.n > STORE_BOX_MAX * 3u || name.p[0] == '.' || name.p[name.n - 1] == '.')
		return false;
	for (i = 0; i < name.n; i += n) {
		if ((n = utf8_printable_char((struct span){ name.p + i, name.n - i })) == 0 ||
		    name.p[i] == '/' || (name.p[i] == '.' && name.p[i + 1] == '.'))
			return false;
		put_char(&w, name.p + i, n);
	}
	unshift(&w);
	key[w.n] = '\0';
	return !w.over;
}

static void
put_utf8(struct writer *w, uint32_t c)
{
	if (c < 0x80) {
		put(w, (char)c);
	} else if (c < 0x800) {
		put(w, (char)(0xc0 | c >> 6));
		put(w, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		put(w, (char)(0xe0 | c >> 12));
		put(w, (char)(0x80 | (c >> 6 & 0x3f)));
		put(w, (char)(0x80 | (c & 0x3f)));
	} else {
		put(w, (char)(0xf0 | c >> 18));
		put(w, (char)(0x80 | (c >> 12 & 0x3f)));
		put(w, (char)(0x80 | (c >> 6 & 0x3f)));
		put(w, (char)(0x80 | (c & 0x3f)));
	}
}

/* What stands between '&' and '-'. Wrong surrogates give wrong UTF-8, which the caller's comparison finds. */
static bool
shifted_text(const char **pp, struct writer *w)
{
	uint32_t bits = 0, high = 0, unit;
	unsigned nbits = 0;
	const char *p, *at;

	for (p = *pp; *p != '-'; p++) {
		if (*p == '\0' || (at = strchr(base64, *p)) == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(at - base64);
		nbits += 6;
		if (nbits < 16)
			continue;
		nbits -= 16;
		unit = bits >> nbits & 0xffff;
		bits &= (1u << nbits) - 1;
		if (unit >= 0xd800 && unit < 0xdc00)
			high = unit;
		else if (unit >= 0xdc00 && unit < 0xe000)
			put_utf8(w, 0x10000 + ((high - 0xd800) << 10 & 0xffc00) + (unit - 0xdc00));
		else
			put_utf8(w, unit);
	}
	*pp = p;
	return true;
}

bool
maildir_key_name(const char *key, char *name)
{
	struct writer w = { .p = name, .max = STORE_BOX_MAX * 3 };
	char again[STORE_BOX_MAX + 1];
	const char *p;

	for (p = key; *p != '\0'; p++) {
		if (*p != '&') {
			put(&w, *p);
		} else if (p[1] == '-') {
			put(&w, '&');
			p++;
		} else {
			p++;
			if (!shifted_text(&p, &w))
				return false;
		}
	}
	name[w.n] = '\0';
	/* one way to write a name: what would come back as another one is not a mailbox */
	return !w.over && maildir_key(span_str(name), again) && strcmp(key, again) == 0;
}

/* --- messages --------------------------------------------------------------------------------------- */

/* Maildir's letters in the order of their bits. */
static const char letters[] = "SRFTDP";

static uint32_t
flag_of(uint8_t c)
{
	const char *at;

	if (c >= 'a' && c <= 'z')
		return STORE_KEYWORD(c - 'a');
	if (c == '\0' || (at = strchr(letters, c)) == NULL)
		return 0;
	return 1u << (at - letters);
}

void
maildir_info(uint32_t flags, char *out)
{
	static const char order[] = "DFPRST";
	const char *c;
	unsigned k;

	memcpy(out, ":2,", 3);
	out += 3;
	for (c = order; *c != '\0'; c++)
		if (flags & flag_of((uint8_t)*c))
			*out++ = *c;
	for (k = 0; k < STORE_KEYWORDS_MAX; k++)
		if (flags & STORE_KEYWORD(k))
			*out++ = (char)('a' + k);
	*out = '\0';
}

static bool
number(struct span s, size_t *at, uint64_t *v_out)
{
	uint64_t v = 0;
	size_t i = *at;

	for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && i - *at < 19; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	if (i == *at)
		return false;
	*at = i;
	*v_out = v;
	return true;
}

/* ",X=<number>" anywhere in the base, as Dovecot, Courier and mbsync write it. */
static bool
field(struct span base, char letter, uint64_t *v_out)
{
	size_t i, at;

	for (i = 0; i + 3 < base.n; i++) {
		if (base.p[i] != ',' || base.p[i + 1] != (uint8_t)letter || base.p[i + 2] != '=')
			continue;
		at = i + 3;
		if (number(base, &at, v_out) && (at == base.n || base.p[at] == ','))
			return true;
	}
	return false;
}

bool
maildir_name_parse(struct span name, struct maildir_name *out)
{
	const uint8_t *info = name.n > 0 ? memmem(name.p, name.n, ":2,", 3) : NULL;
	struct span base = { name.p, info == NULL ? name.n : (size_t)(info - name.p) };
	uint64_t uid;
	size_t i;

	memset(out, 0, sizeof *out);
	if (base.n == 0 || base.n > MAILDIR_BASE_MAX || name.n > MAILDIR_NAME_MAX || name.p[0] == '.')
		return false;
	for (i = 0; i < name.n; i++)
		if (name.p[i] < ' ' || name.p[i] == 0x7f || name.p[i] == '/')
			return false;
	out->base = base.n;
	out->has_info = info != NULL;
	for (i = base.n + 3; i < name.n; i++)
		out->flags |= flag_of(name.p[i]);
	out->has_size = field(base, 'S', &out->size);
	out->has_virtual = field(base, 'W', &out->virt);
	if (field(base, 'U', &uid) && uid > 0 && uid < UINT32_MAX) {
		out->has_uid = true;
		out->uid = (uint32_t)uid;
	}
	return true;
}

void
maildir_host(const char *host, char *out)
{
	size_t n = 0;

	for (; *host != '\0' && n < MAILDIR_HOST_MAX; host++)
		out[n++] = (*host >= '0' && *host <= '9') || (*host >= 'a' && *host <= 'z') ||
			(*host >= 'A' && *host <= 'Z') || *host == '.' || *host == '-' ? *host : '_';
	if (n == 0)
		out[n++] = '_';
	out[n] = '\0';
}

void
maildir_base(const struct maildir_stamp *st, const char *host, uint64_t size, uint32_t uid, char *base)
{
	int n = snprintf(base, MAILDIR_BASE_MAX + 1, "%llu.M%uP%llu.%s,S=%llu,U=%u",
		(unsigned long long)st->sec, st->us, (unsigned long long)st->lsn, host,
		(unsigned long long)size, uid);

	PT_ASSERT(n > 0 && n <= MAILDIR_BASE_MAX);
}

/* FNV-1a, 128 bits. */
static void
hash_guid(struct span base, char guid[33])
{
	unsigned __int128 h = (unsigned __int128)0x6c62272e07bb0142ull << 64 | 0x62b821756295c58dull;
	size_t i;

	for (i = 0; i < base.n; i++) {
		h ^= base.p[i];
		h *= (unsigned __int128)0x0000000001000000ull << 64 | 0x000000000000013bull;
	}
	hex_put((uint8_t *)guid, 16, (uint64_t)(h >> 64));
	hex_put((uint8_t *)guid + 16, 16, (uint64_t)h);
}

void
maildir_guid(struct span base, char guid[33])
{
	uint64_t sec, us, lsn, uid;
	size_t at = 0;

	guid[32] = '\0';
	if (number(base, &at, &sec) && at + 2 < base.n && memcmp(base.p + at, ".M", 2) == 0 &&
	    (at += 2, number(base, &at, &us)) && at < base.n && base.p[at] == 'P' &&
	    (at++, number(base, &at, &lsn)) && field(base, 'U', &uid) && us < 1000000 &&
	    sec <= UINT32_MAX && uid <= UINT32_MAX && lsn >> 44 == 0) {
		hex_put((uint8_t *)guid, 8, sec);
		hex_put((uint8_t *)guid + 8, 5, us);
		hex_put((uint8_t *)guid + 13, 11, lsn);
		hex_put((uint8_t *)guid + 24, 8, uid);
		return;
	}
	hash_guid(base, guid);
}

/* --- folders ----------------------------------------------------------------------------------------- */

int
maildir_error(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP: /* a link where none may be: as if it were not there */
		return PT_ENOENT;
	case ENOSPC:
	case EDQUOT:
	case EFBIG: /* a limit on the size of files */
		return PT_EFULL;
	default:
		return PT_EIO;
	}
}

int
maildir_write(int fd, const uint8_t *p, size_t n)
{
	ssize_t w;

	while (n > 0) {
		w = write(fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? maildir_error(errno) : PT_EIO;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

int
maildir_append(int fd, const uint8_t *p, size_t n)
{
	struct stat st;
	char last = '\n';
	int rc;

	if (fstat(fd, &st) != 0 || (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1))
		return PT_EIO;
	if ((last != '\n' && (rc = maildir_write(fd, (const uint8_t *)"\n", 1)) != 0) || (rc = maildir_write(fd, p, n)) != 0)
		(void)!ftruncate(fd, st.st_size); /* if that fails, too, the next one ends it */
	return rc;
}

static int
open_beneath(int dir_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	long fd;

	if (flags & O_CREAT)
		how.mode = 0600;
	do /* a rename elsewhere makes the kernel unsure: it asks to try again */
		fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	return fd < 0 ? maildir_error(errno) : (int)fd;
}

int
maildir_open(int dir_fd, const char *path, int flags)
{
	int fd = open_beneath(dir_fd, path, flags | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) != 0) {
		close(fd);
		return PT_EIO;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return PT_ENOENT;
	}
	return fd;
}

/* The folder that a file stands in; *leaf is its name there. The calls that have no openat2(2) of their own get these.
 * A descriptor, also where path is only a name. */
static int
open_folder_of(int dir_fd, const char *path, const char **leaf)
{
	const char *slash = strrchr(path, '/');
	char folder[STORE_BOX_MAX + 16];

	*leaf = slash == NULL ? path : slash + 1;
	if (slash != NULL && (size_t)(slash - path) >= sizeof folder)
		return PT_ENOENT;
	snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
	return open_beneath(dir_fd, folder, O_PATH | O_DIRECTORY);
}

int
maildir_rename(int from_fd, const char *from, int to_fd, const char *to)
{
	const char *old, *new;
	int a, b, rc = 0;

	if ((a = open_folder_of(from_fd, from, &old)) < 0)
		return a;
	if ((b = open_folder_of(to_fd, to, &new)) < 0) {
		close(a);
		return b;
	}
	if (renameat(a, old, b, new) != 0)
		rc = maildir_error(errno);
	close(a);
	close(b);
	return rc;
}

int
maildir_link(int from_fd, const char *from, int to_fd, const char *to)
{
	const char *old, *new;
	int a, b, rc = 0;

	if ((a = open_folder_of(from_fd, from, &old)) < 0)
		return a;
	if ((b = open_folder_of(to_fd, to, &new)) < 0) {
		close(a);
		return b;
	}
	if (linkat(a, old, b, new, 0) != 0 && errno != EEXIST)
		rc = maildir_error(errno);
	close(a);
	close(b);
	return rc;
}

int
maildir_unlink(int dir_fd, const char *path)
{
	const char *leaf;
	int fd = open_folder_of(dir_fd, path, &leaf), rc = 0;

	if (fd < 0)
		return fd;
	if (unlinkat(fd, leaf, 0) != 0)
		rc = maildir_error(errno);
	close(fd);
	return rc;
}

int
maildir_set_time(int dir_fd, const char *path, int64_t sec)
{
	const struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = (time_t)sec } };
	const char *leaf;
	int fd = open_folder_of(dir_fd, path, &leaf), rc = 0;

	if (fd < 0)
		return fd;
	if (utimensat(fd, leaf, t, AT_SYMLINK_NOFOLLOW) != 0)
		rc = maildir_error(errno);
	close(fd);
	return rc;
}

static int
make_folder(int dir_fd, const char *name)
{
	if (mkdirat(dir_fd, name, 0700) == 0 || errno == EEXIST)
		return 0;
	return maildir_error(errno);
}

/* What stands where a folder must be and is none, a link above all, goes. */
static int
make_part(int fd, const char *part)
{
	int rc = make_folder(fd, part), part_fd;

	if (rc != 0)
		return rc;
	if ((part_fd = open_beneath(fd, part, O_PATH | O_DIRECTORY)) >= 0) {
		close(part_fd);
		return 0;
	}
	if (part_fd != PT_ENOENT)
		return part_fd;
	if (unlinkat(fd, part, 0) != 0)
		return maildir_error(errno);
	return make_folder(fd, part);
}

int
maildir_box_mend(int box_fd)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	size_t i;
	int rc = 0;

	for (i = 0; i < PT_COUNT(parts) && rc == 0; i++)
		rc = make_part(box_fd, parts[i]);
	return rc;
}

int
maildir_user_open(int mail_fd, const char *user, bool make)
{
	char path[STORE_USER_MAX + 16];
	int fd, rc;

	PT_ASSERT(maildir_user_ok(span_str(user)));
	snprintf(path, sizeof path, "%s/Maildir", user);
	fd = open_beneath(mail_fd, path, O_RDONLY | O_DIRECTORY);
	if (fd != PT_ENOENT || !make)
		return fd;
	if ((rc = make_folder(mail_fd, user)) != 0)
		return rc;
	if ((fd = open_beneath(mail_fd, user, O_RDONLY | O_DIRECTORY)) < 0)
		return fd;
	rc = make_folder(fd, "Maildir");
	close(fd);
	return rc != 0 ? rc : open_beneath(mail_fd, path, O_RDONLY | O_DIRECTORY);
}

void
maildir_folder(const char *key, char *out)
{
	if (strcmp(key, "INBOX") == 0)
		memcpy(out, ".", 2);
	else
		snprintf(out, STORE_BOX_MAX + 2, ".%s", key);
}

int
maildir_box_open(int user_fd, const char *key, bool make)
{
	char folder[STORE_BOX_MAX + 2];
	int fd, rc;

	maildir_folder(key, folder);
	if (make && strcmp(folder, ".") != 0 && (rc = make_folder(user_fd, folder)) != 0)
		return rc;
	if ((fd = open_beneath(user_fd, folder, O_RDONLY | O_DIRECTORY)) < 0)
		return fd;
	if (make && (rc = maildir_box_mend(fd)) != 0) {
		close(fd);
		return rc;
	}
	return fd;
}
