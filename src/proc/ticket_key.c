/* proc/ticket_key.c - see ticket_key.h. Nothing here is ever logged but paths and reasons. */
#include "proc/ticket_key.h"

#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "keys"
#define TICKET "ticket"

static int
open_folder(const char *state, int *fd_out, struct diag *diag)
{
	char path[4200];
	struct stat st;
	int fd;

	*fd_out = -1;
	if ((size_t)snprintf(path, sizeof path, "%s/" FOLDER, state) >= sizeof path)
		return diag_set(diag, PT_EINVAL, "the path of the state folder is too long");
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return diag_set(diag, PT_EIO, "cannot make the folder %s: %s", path, strerror(errno));
	if ((fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return diag_set(diag, PT_EIO, "cannot open the folder %s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || st.st_uid != geteuid()) {
		close(fd);
		return diag_set(diag, PT_EPERM, "the folder %s belongs to another user", path);
	}
	if ((st.st_mode & 077) != 0 && fchmod(fd, 0700) != 0) {
		close(fd);
		return diag_set(diag, PT_EPERM, "the folder %s is open to other users: %s", path,
			strerror(errno));
	}
	*fd_out = fd;
	return 0;
}

static int
read_all(int fd, uint8_t *p, size_t n)
{
	ssize_t r;

	while (n > 0) {
		if ((r = read(fd, p, n)) < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return PT_EIO;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

/* Why the file cannot be used, NULL if it can. */
static const char *
fault_of(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a file";
	if (st->st_uid != geteuid())
		return "belonged to another user";
	if ((st->st_mode & 077) != 0)
		return "was open to other users";
	return st->st_size != TICKET_KEY_SIZE ? "did not have 64 octets" : NULL;
}

/* 0; PT_ENOENT; PT_EINVAL: it is there and cannot be used, *why_out tells the reason. */
static int
read_key(int folder, const char *file, uint8_t *key, const char **why_out)
{
	int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int rc = PT_EINVAL;

	if (fd < 0) {
		*why_out = errno == ELOOP ? "was a symbolic link" : strerror(errno);
		return errno == ENOENT ? PT_ENOENT : PT_EINVAL;
	}
	*why_out = fstat(fd, &st) == 0 ? fault_of(&st) : strerror(errno);
	if (*why_out == NULL && (rc = read_all(fd, key, TICKET_KEY_SIZE)) != 0) {
		*why_out = "could not be read";
		rc = PT_EINVAL;
	}
	close(fd);
	return rc;
}

static int
write_key(int fd, const uint8_t *key)
{
	ssize_t n = write(fd, key, TICKET_KEY_SIZE);

	return n == TICKET_KEY_SIZE && fsync(fd) == 0 ? 0 : PT_EIO;
}

static int
random_key(uint8_t *key)
{
	return getrandom(key, TICKET_KEY_SIZE, 0) == TICKET_KEY_SIZE ? 0 : PT_EIO;
}

/* Whole or not at all: written beside it, flushed, then given the name. */
static int
make_key(int folder, const char *file, uint8_t *key, struct diag *diag)
{
	char name[64];
	int fd, rc;

	snprintf(name, sizeof name, "%s.%d", file, (int)getpid());
	(void)unlinkat(folder, name, 0); /* an earlier process of this number was killed in between */
	if ((fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		return diag_set(diag, PT_EIO, "%s", strerror(errno));
	if ((rc = random_key(key)) == 0)
		rc = write_key(fd, key);
	if (rc == 0 && renameat(folder, name, folder, file) != 0)
		rc = PT_EIO;
	if (rc != 0) {
		diag_set(diag, rc, "%s", strerror(errno));
		(void)unlinkat(folder, name, 0);
		explicit_bzero(key, TICKET_KEY_SIZE);
	} else {
		(void)fsync(folder);
	}
	close(fd);
	return rc;
}

int
state_key_open(const char *state, const char *file, uint8_t key[TICKET_KEY_SIZE], enum ticket_key_source *source,
	       struct diag *diag)
{
	const char *why = NULL;
	int folder, rc;

	memset(key, 0, TICKET_KEY_SIZE);
	*source = TICKET_KEY_READ;
	if ((rc = open_folder(state, &folder, diag)) != 0)
		return rc;
	rc = read_key(folder, file, key, &why);
	if (rc != 0) {
		*source = rc == PT_ENOENT ? TICKET_KEY_MADE : TICKET_KEY_REPLACED;
		rc = make_key(folder, file, key, diag);
		if (rc != 0)
			diag_prefix(diag, "cannot write %s/" FOLDER "/%s", state, file);
		else if (*source == TICKET_KEY_REPLACED)
			diag_set(diag, 0, "%s/" FOLDER "/%s %s", state, file, why);
	}
	close(folder);
	return rc;
}

int
ticket_key_open(const char *state, uint8_t key[TICKET_KEY_SIZE], enum ticket_key_source *source,
		struct diag *diag)
{
	return state_key_open(state, TICKET, key, source, diag);
}

int
ticket_key_load(const char *state, const uint8_t *prev, uint8_t key[TICKET_KEY_SIZE])
{
	enum ticket_key_source source;
	struct diag diag = { "" };

	if (ticket_key_open(state, key, &source, &diag) == 0) {
		if (source == TICKET_KEY_MADE)
			log_msg(LOG_L_NOTICE, "made a key for session tickets, %s/" FOLDER "/" TICKET, state);
		else if (source == TICKET_KEY_REPLACED)
			log_msg(LOG_L_WARNING, "%s: a new key for session tickets was made; clients begin "
				"with a full handshake", diag.text);
		return 0;
	}
	log_msg(LOG_L_WARNING, "%s: session tickets do not outlive this process", diag.text);
	if (prev != NULL) {
		memcpy(key, prev, TICKET_KEY_SIZE);
		return 0;
	}
	return random_key(key);
}
