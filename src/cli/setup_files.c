/* cli/setup_files.c - folders and files, made only where nothing is. A file appears under its name
 * whole and with its final mode, or not at all. */
#include "cli/setup.h"
#include "tls/tls_selfsigned.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A file on its way: written under a name of this process, then put in place. */
struct draft {
	char *name;
	int fd;
};

static int
draft_open(struct draft *d, const char *path, mode_t mode, struct diag *diag)
{
	d->fd = -1;
	if (asprintf(&d->name, "%s.new.%d", path, (int)getpid()) < 0) {
		d->name = NULL;
		return PT_ENOMEM;
	}
	(void)unlink(d->name); /* of an earlier process with our number, which died */
	d->fd = open(d->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (d->fd < 0)
		return diag_set(diag, PT_EIO, "making %s: %s", d->name, strerror(errno));
	return 0;
}

/* Puts it in place under path, on the disk before the name says so. */
static int
draft_place(struct draft *d, const char *path, bool replace, struct diag *diag)
{
	if (fsync(d->fd) != 0)
		return diag_set(diag, PT_EIO, "writing %s: %s", d->name, strerror(errno));
	if ((replace ? rename(d->name, path) : link(d->name, path)) != 0)
		return diag_set(diag, PT_EIO, "making %s: %s", path, strerror(errno));
	return 0;
}

static void
draft_fini(struct draft *d)
{
	if (d->fd >= 0) {
		close(d->fd);
		(void)unlink(d->name); /* placed or not, this name goes */
	}
	free(d->name);
	*d = (struct draft){ NULL, -1 };
}

int
setup_files_write(const char *path, mode_t mode, struct span text, bool replace, struct diag *diag)
{
	struct draft d;
	size_t done = 0;
	ssize_t n;
	int rc;

	if ((rc = draft_open(&d, path, mode, diag)) != 0)
		goto out;
	while (done < text.n) {
		if ((n = write(d.fd, text.p + done, text.n - done)) < 0 && errno != EINTR) {
			rc = diag_set(diag, PT_EIO, "writing %s: %s", d.name, strerror(errno));
			goto out;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	rc = draft_place(&d, path, replace, diag);
out:
	draft_fini(&d);
	return rc;
}

int
setup_files_read(const char *path, size_t max, struct buf *out, struct diag *diag)
{
	char piece[4096];
	ssize_t n = 0;
	int fd, rc = 0;

	buf_init(out, max);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return diag_set(diag, errno == ENOENT ? PT_ENOENT : PT_EIO, "reading %s: %s", path,
				strerror(errno));
	while (rc == 0 && ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			rc = buf_append(out, piece, (size_t)n);
	if (rc == 0 && n < 0)
		rc = diag_set(diag, PT_EIO, "reading %s: %s", path, strerror(errno));
	close(fd);
	if (rc != 0)
		buf_fini(out);
	return rc;
}

int
setup_files_folder(struct setup *s, const char *path, mode_t mode, struct diag *diag)
{
	char part[PATH_MAX], *p;
	struct stat st;
	int rc;

	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return diag_set(diag, PT_EIO,
					"%s is in the way: it should be a folder; move it away",
					path);
		return setup_note(s, "folder", path, SETUP_THERE);
	}
	if (strlcpy(part, path, sizeof part) >= sizeof part)
		return diag_set(diag, PT_ETOOBIG, "the name of folder %s is too long", path);
	for (p = part + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		if (mkdir(part, 0755) == 0) {
			if ((rc = setup_note(s, "folder", part, SETUP_MADE)) != 0)
				return rc;
		} else if (errno != EEXIST) {
			return diag_set(diag, PT_EIO, "making folder %s: %s", part,
					strerror(errno));
		}
		*p = '/';
	}
	if (mkdir(path, mode) != 0)
		return diag_set(diag, PT_EIO, "making folder %s: %s", path, strerror(errno));
	return setup_note(s, "folder", path, SETUP_MADE);
}

int
setup_files_folder_of(struct setup *s, const char *path, mode_t mode, const char *account, struct diag *diag)
{
	const struct passwd *pw;
	bool there = access(path, F_OK) == 0;
	int rc;

	if ((rc = setup_files_folder(s, path, mode, diag)) != 0 || there || !s->root)
		return rc;
	if ((pw = getpwnam(account)) == NULL)
		return diag_set(diag, PT_ENOENT, "there is no account %s", account);
	if (chown(path, pw->pw_uid, pw->pw_gid) != 0)
		return diag_set(diag, PT_EIO, "giving the folder %s to %s: %s", path, account, strerror(errno));
	return 0;
}

static int
make_credentials(struct setup *s, struct diag *diag)
{
	struct draft key = { NULL, -1 }, certificate = { NULL, -1 };
	char host[NORMAL_DOMAIN_MAX] = "localhost";
	int rc;

	if (s->hostname[0] != '\0')
		memcpy(host, s->hostname, sizeof host);
	else
		(void)gethostname(host, sizeof host - 1);
	if ((rc = draft_open(&key, s->key, 0600, diag)) != 0 ||
	    (rc = draft_open(&certificate, s->certificate, 0644, diag)) != 0 ||
	    (rc = tls_selfsigned_make(host, time(NULL), key.fd, certificate.fd, diag)) != 0 ||
	    (rc = draft_place(&key, s->key, false, diag)) != 0)
		goto out;
	if ((rc = draft_place(&certificate, s->certificate, false, diag)) != 0)
		(void)unlink(s->key); /* we made it, and it is of no use alone */
out:
	draft_fini(&key);
	draft_fini(&certificate);
	return rc;
}

int
setup_files_credentials(struct setup *s, struct diag *diag)
{
	bool have_key = access(s->key, F_OK) == 0;
	bool have_certificate = access(s->certificate, F_OK) == 0;
	enum setup_did did = SETUP_THERE;
	int rc;

	if (have_key != have_certificate)
		return diag_set(diag, PT_EINVAL,
				"%s is there and %s is not: put the second back, or move the first "
				"away, then run setup again",
				have_key ? s->key : s->certificate,
				have_key ? s->certificate : s->key);
	if (!have_key) {
		if ((rc = make_credentials(s, diag)) != 0)
			return rc;
		did = SETUP_MADE;
	}
	if ((rc = setup_note(s, "key", s->key, did)) != 0)
		return rc;
	return setup_note(s, "certificate", s->certificate, did);
}
