/* cli/admin_own.c - the store in this process, while no server runs: under the journal's lock, as the user whose folders they
 * are, and with everything carried out that had been accepted. Ended at any moment it leaves what a kill of the server leaves. */
#include "cli/admin.h"

#include "cli/cli_load.h"
#include "store/admin.h"
#include "store/row_json.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TURN_MS 1000

struct own_store {
	const struct cli *cli;
	struct conf *conf;
	int journal_fd, kv_fd, queue_fd, mail_fd;
	struct store_backend *be;
	struct kv *kv;
	struct queue *queue;
	struct mailboxes *mbs;
	bool failed;
	/* of the question under way */
	json_t *rows;
	enum store_rc rc;
	char *why;
	bool done, spoilt;
};

static void
on_failed(void *arg, const char *what)
{
	struct own_store *s = arg;

	log_msg(LOG_L_ERROR, "%s: what the journal has is carried out by whoever opens the store next", what);
	s->failed = true;
}

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	struct own_store *s = arg;

	if (kv_set(s->kv, space, key, version, expires, value) != 0)
		log_msg(LOG_L_ERROR, "no room for key %s of %s", key, space);
}

/* --- opening --------------------------------------------------------------------------------------------------- */

static enum cli_exit
open_folder(struct own_store *s, const char *path, int *fd_out)
{
	if ((*fd_out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0)
		return CLI_OK;
	if (errno == ENOENT)
		return cli_fail(s->cli, CLI_FAILED, "there is no store yet: no folder %s; posternd makes it when it first starts with "
			"this configuration", path);
	if (errno == EACCES)
		return cli_fail(s->cli, CLI_DENIED, "you may not open the folder %s, and posternd is not running, which could for you: run "
			"this as root, or start posternd", path);
	return cli_fail(s->cli, CLI_FAILED, "cannot open the folder %s: %s", path, strerror(errno));
}

/* What is written must belong to whom the rest belongs. */
static enum cli_exit
become_owner(struct own_store *s)
{
	const struct passwd *pw;
	struct stat st;

	if (fstat(s->mail_fd, &st) != 0)
		return cli_fail(s->cli, CLI_FAILED, "%s: %s", s->conf->mail, strerror(errno));
	if (st.st_uid == geteuid())
		return CLI_OK;
	if (geteuid() != 0) {
		pw = getpwuid(st.st_uid);
		return cli_fail(s->cli, CLI_DENIED, "the mail in %s belongs to user %u (%s), and posternd is not running, which could "
			"do it for you: run this as root, or start posternd", s->conf->mail, (unsigned)st.st_uid,
			pw != NULL ? pw->pw_name : "no name");
	}
	if (setgroups(0, NULL) != 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) != 0 ||
	    setresuid(st.st_uid, st.st_uid, st.st_uid) != 0)
		return cli_fail(s->cli, CLI_FAILED, "cannot become the user whose mail it is: %s", strerror(errno));
	return CLI_OK;
}

static enum cli_exit
open_folders(struct own_store *s)
{
	const struct {
		const char *name;
		int *fd;
	} folders[] = { { "journal", &s->journal_fd }, { "kv", &s->kv_fd }, { "queue", &s->queue_fd } };
	char path[4096 + 16];
	enum cli_exit code;
	size_t i;

	if (s->conf->mail == NULL)
		return cli_fail(s->cli, CLI_FAILED, "there is no store: %s has no \"mail\" directive", s->cli->conf_file);
	if ((code = open_folder(s, s->conf->mail, &s->mail_fd)) != CLI_OK)
		return code;
	for (i = 0; i < PT_COUNT(folders); i++) {
		snprintf(path, sizeof path, "%s/%s", s->conf->state, folders[i].name);
		if ((code = open_folder(s, path, folders[i].fd)) != CLI_OK)
			return code;
	}
	return become_owner(s);
}

static enum cli_exit
open_engine(struct own_store *s)
{
	struct local_conf lc = { .journal_fd = s->journal_fd, .kv_fd = s->kv_fd, .mail_fd = s->mail_fd, .queue_fd = s->queue_fd,
		.host = s->conf->hostname, .segments = LOCAL_SEGMENTS,
		.segment_octets = ((uint64_t)s->conf->journal_mib << 20) / LOCAL_SEGMENTS,
		.margin_octets = LOCAL_MARGIN_OCTETS, .margin_inodes = LOCAL_MARGIN_INODES, .tidy = true, .failed = on_failed,
		.failed_arg = s };
	struct mailboxes_conf mc = { .host = s->conf->hostname };
	struct diag diag = { "" };
	int rc;

	if ((s->kv = kv_new()) == NULL || (s->queue = queue_new()) == NULL)
		return cli_fail_memory(s->cli);
	lc.queue = mc.queue = s->queue; /* what is queued must not be passed over: it would be forgotten with its journal */
	rc = local_open(&lc, on_key, NULL, s, &s->be, &diag);
	if (rc == PT_EBUSY)
		return cli_fail(s->cli, CLI_FAILED, "the store in %s is in use, but nobody listens at this configuration's control socket: a "
			"posternd with another configuration has it (name that with -f, or its socket with -s), one that "
			"is just starting or ending, or another postern command; try again when that is over", s->conf->mail);
	if (rc != 0)
		return cli_fail(s->cli, CLI_FAILED, "cannot open the store: %s", diag.text[0] != '\0' ? diag.text : pt_strerror(rc));
	if ((s->mbs = mailboxes_new(s->be, s->kv, &mc)) == NULL)
		return cli_fail_memory(s->cli);
	return CLI_OK;
}

enum cli_exit
own_store_open(const struct cli *cli, struct own_store **out)
{
	struct own_store *s = calloc(1, sizeof *s);
	enum cli_exit code;

	*out = NULL;
	if (s == NULL)
		return cli_fail_memory(cli);
	s->cli = cli;
	s->journal_fd = s->kv_fd = s->queue_fd = s->mail_fd = -1;
	log_set_name("postern");
	log_set_level(LOG_L_WARNING);
	if ((code = cli_load(cli, &s->conf)) != CLI_OK || (code = open_folders(s)) != CLI_OK ||
	    (code = open_engine(s)) != CLI_OK)
		own_store_close(&s);
	*out = s;
	return code;
}

void
own_store_close(struct own_store **sp)
{
	struct own_store *s = *sp;

	if (s == NULL)
		return;
	if (s->be != NULL)
		s->be->ops->close(s->be);
	mailboxes_free(&s->mbs);
	kv_free(&s->kv);
	queue_free(&s->queue);
	if (s->queue_fd >= 0)
		close(s->queue_fd);
	if (s->journal_fd >= 0)
		close(s->journal_fd);
	if (s->kv_fd >= 0)
		close(s->kv_fd);
	if (s->mail_fd >= 0)
		close(s->mail_fd);
	conf_free(&s->conf);
	free(s);
	*sp = NULL;
}

/* --- questions ------------------------------------------------------------------------------------------------- */

static void
on_row(void *arg, struct span row)
{
	struct own_store *s = arg;
	json_t *o = row_json(row);

	if (o == NULL || json_array_append_new(s->rows, o) != 0)
		s->spoilt = true;
}

static void
on_end(void *arg, enum store_rc rc, const char *text)
{
	struct own_store *s = arg;

	s->rc = rc;
	s->why = rc == STORE_OK ? NULL : strdup(text[0] != '\0' ? text : rc == STORE_FULL ? "the disk is full: make room and try again"
		: rc == STORE_TEMP ? "a file of the store could not be read or written" : store_rc_text(rc));
	s->done = true;
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
turn(struct own_store *s)
{
	struct pollfd p = { .fd = s->be->ops->fd(s->be), .events = POLLIN };

	if (poll(&p, 1, TURN_MS) > 0)
		s->be->ops->dispatch(s->be);
	(void)mailboxes_tick(s->mbs, now_ms());
	mailboxes_flush(s->mbs);
}

enum cli_exit
own_store_rows(struct own_store *s, const char *what, const char *user, const char *box, bool repair, json_t **rows_out,
	       char **why_out)
{
	struct admin_question q;
	const char *wrong = admin_question_make(&q, admin_find(what), repair, span_str(user), span_str(box));

	if (wrong != NULL) {
		*why_out = strdup(wrong);
		return CLI_FAILED;
	}
	if ((s->rows = json_array()) == NULL)
		return cli_fail_memory(s->cli);
	s->done = s->spoilt = false;
	admin_ask(s->mbs, &q, on_row, on_end, s);
	mailboxes_flush(s->mbs);
	while (!s->done && !s->failed)
		turn(s);
	if (s->done && s->rc == STORE_OK && !s->spoilt) {
		*rows_out = s->rows;
		return CLI_OK;
	}
	json_decref(s->rows);
	*why_out = s->done && s->why != NULL ? s->why : strdup("the journal cannot be written");
	return CLI_FAILED;
}
