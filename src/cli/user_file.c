/* cli/user_file.c - the users file on the disk: read whole, one line changed, written whole. */
#include "cli/user.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "# Who has a mailbox here, and how they log in: see postern-users(5), or use \"postern user\".\n"

static enum cli_exit
fail_errno(const struct cli *cli, const char *what, const char *path)
{
	return cli_fail(cli, errno == EACCES || errno == EPERM ? CLI_DENIED : CLI_FAILED, "%s %s: %s", what, path,
			strerror(errno));
}

/* Where it is, or will be. */
static char *
real_path(const char *path)
{
	char *real = realpath(path, NULL);

	return real != NULL || errno != ENOENT ? real : strdup(path);
}

/* The folder, since the file itself is replaced. */
static enum cli_exit
take_lock(const struct cli *cli, struct user_file *f)
{
	char *copy = strdup(f->path);
	enum cli_exit code = CLI_OK;
	const char *folder;

	if (copy == NULL)
		return cli_fail_memory(cli);
	folder = dirname(copy);
	f->lock_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->lock_fd < 0 || flock(f->lock_fd, LOCK_EX) != 0)
		code = fail_errno(cli, "the folder of the users file,", folder);
	free(copy);
	return code;
}

static enum cli_exit
read_text(const struct cli *cli, struct user_file *f)
{
	char piece[8192];
	struct stat st;
	ssize_t n = 0;
	int fd, rc = 0;

	if ((fd = open(f->path, O_RDONLY | O_CLOEXEC)) < 0)
		return errno == ENOENT ? CLI_OK : fail_errno(cli, "reading", f->path);
	f->exists = true;
	if (fstat(fd, &st) == 0) {
		f->uid = st.st_uid;
		f->gid = st.st_gid;
	}
	while (rc == 0 && ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			rc = buf_append(&f->text, piece, (size_t)n);
	explicit_bzero(piece, sizeof piece);
	if (n < 0 || rc != 0) {
		errno = rc != 0 ? EFBIG : errno;
		close(fd);
		return fail_errno(cli, "reading", f->path);
	}
	close(fd);
	return CLI_OK;
}

/* Parses; tells every mistake. */
static enum cli_exit
parse(const struct cli *cli, const char *name, struct span text, const char *what, struct users **users)
{
	struct buf mistakes, message;
	enum cli_exit code;
	int rc;

	buf_init(&mistakes, CLI_TEXT_MAX / 2);
	buf_init(&message, CLI_TEXT_MAX);
	if ((rc = users_parse(name, text, users, &mistakes)) == 0) {
		buf_fini(&mistakes);
		return CLI_OK;
	}
	if (rc == PT_ENOMEM || buf_printf(&message, "%s:\n", what) != 0 ||
	    buf_append(&message, buf_span(&mistakes).p, buf_size(&mistakes)) != 0)
		code = cli_fail_memory(cli);
	else
		code = cli_fail_text(cli, CLI_CONFIG, &message);
	buf_fini(&mistakes);
	buf_fini(&message);
	return code;
}

enum cli_exit
user_file_open(const struct cli *cli, const struct conf *conf, bool lock, struct user_file *f)
{
	enum cli_exit code = CLI_OK;

	*f = (struct user_file){ .uid = geteuid(), .gid = getegid(), .lock_fd = -1 };
	buf_init(&f->text, USERS_FILE_MAX);
	if (conf->users_file == NULL)
		code = cli_fail(cli, CLI_CONFIG, "%s names no users file: add a line such as \"users file "
			SYSCONFDIR "/postern/users\", then try again", conf->file);
	else if ((f->path = real_path(conf->users_file)) == NULL)
		code = fail_errno(cli, "the users file,", conf->users_file);
	if (code == CLI_OK && lock)
		code = take_lock(cli, f);
	if (code == CLI_OK)
		code = read_text(cli, f);
	if (code == CLI_OK)
		code = parse(cli, f->path, buf_span(&f->text), "the users file has mistakes, and is not touched before "
			"they are gone", &f->users);
	if (code != CLI_OK)
		user_file_close(f);
	return code;
}

void
user_file_close(struct user_file *f)
{
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	f->lock_fd = -1;
	users_free(&f->users);
	buf_wipe(&f->text);
	free(f->path);
	f->path = NULL;
}

/* The octets of line number n (from 1), its end included. */
static struct span
line_of(struct span text, unsigned n)
{
	const uint8_t *end;

	for (;; n--) {
		end = text.n > 0 ? memchr(text.p, '\n', text.n) : NULL;
		if (n == 1 || end == NULL)
			return (struct span){ text.p, end != NULL ? (size_t)(end - text.p) + 1 : text.n };
		text = (struct span){ end + 1, text.n - (size_t)(end + 1 - text.p) };
	}
}

/* The whole file as it will be. */
static int
change(const struct user_file *f, const struct user *old, const char *line, struct buf *out)
{
	struct span text = buf_span(&f->text), gone = { text.p + text.n, 0 };
	size_t before;
	int rc = 0;

	if (!f->exists)
		rc = buf_append_str(out, HEAD);
	if (old != NULL)
		gone = line_of(text, old->line);
	before = text.n > 0 ? (size_t)(gone.p - text.p) : 0;
	if (rc == 0 && before > 0)
		rc = buf_append(out, text.p, before);
	if (rc == 0 && old == NULL && before > 0 && text.p[before - 1] != '\n')
		rc = buf_append_str(out, "\n");
	if (rc == 0 && line != NULL)
		rc = buf_printf(out, "%s\n", line);
	if (rc == 0 && text.n > before + gone.n)
		rc = buf_append(out, gone.p + gone.n, text.n - before - gone.n);
	return rc;
}

static int
write_all(int fd, struct span text)
{
	ssize_t n;

	while (text.n > 0) {
		if ((n = write(fd, text.p, text.n)) < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			text = (struct span){ text.p + n, text.n - (size_t)n };
	}
	return 0;
}

/* Written beside it, flushed, then given its name: whoever reads meets one or the other, whole. */
static enum cli_exit
replace(const struct cli *cli, const struct user_file *f, struct span text)
{
	enum cli_exit code = CLI_OK;
	char *name;
	int fd;

	if (asprintf(&name, "%s.new.%d", f->path, (int)getpid()) < 0)
		return cli_fail_memory(cli);
	(void)unlink(name); /* of an earlier process with our number, which died */
	if ((fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0) {
		code = fail_errno(cli, "making", name);
		free(name);
		return code;
	}
	if ((f->uid != geteuid() || f->gid != getegid()) && fchown(fd, f->uid, f->gid) != 0)
		code = cli_fail(cli, CLI_DENIED, "%s belongs to somebody else, and would be yours: run this as its "
			"owner, or as root", f->path);
	else if (write_all(fd, text) != 0 || fsync(fd) != 0 || rename(name, f->path) != 0)
		code = fail_errno(cli, "writing", f->path);
	else if (f->lock_fd >= 0)
		(void)fsync(f->lock_fd); /* the folder */
	if (code != CLI_OK)
		(void)unlink(name);
	close(fd);
	free(name);
	return code;
}

enum cli_exit
user_file_put(const struct cli *cli, struct user_file *f, const struct user *old, const char *line)
{
	struct users *users = NULL;
	enum cli_exit code;
	struct buf text;

	buf_init(&text, USERS_FILE_MAX);
	if (change(f, old, line, &text) != 0)
		code = cli_fail_memory(cli);
	else if ((code = parse(cli, f->path, buf_span(&text), "the users file would have a mistake and was not changed",
			  &users)) == CLI_OK)
		code = replace(cli, f, buf_span(&text));
	users_free(&users);
	buf_wipe(&text);
	return code;
}
