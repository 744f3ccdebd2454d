/* store/maildir.h - names on disk: users, mailboxes, messages; and folders opened without leaving the mail root.
 *
 *     <mail>/<user>/Maildir/            INBOX          <mail>/<user>/Maildir/.Sent.2026/   Sent.2026
 *         {tmp,new,cur}/<base>[:2,<flags>]
 *
 * User and mailbox names come from outside and may be anything; what people with their own access to the mail root
 * put there may be anything too: nothing here follows a symbolic link. A mailbox's *key* is its name in modified
 * UTF-7 (RFC 3501 §5.1.3), "INBOX" for that one; its folder is the key behind a dot (Maildir++). */
#ifndef STORE_MAILDIR_H
#define STORE_MAILDIR_H

#include "store/store_types.h"

#include "util/err.h"
#include "util/span.h"

#define MAILDIR_NAME_MAX 255                       /* octets of a file's name */
#define MAILDIR_FLAGS_MAX (3 + 6 + STORE_KEYWORDS_MAX) /* ":2," and all letters */
#define MAILDIR_BASE_MAX (MAILDIR_NAME_MAX - MAILDIR_FLAGS_MAX)
#define MAILDIR_HOST_MAX 64                        /* octets of the host in our names; longer is cut */

/* --- names from outside ----------------------------------------------------------------------------- */

/* May be a user's folder: UTF-8 without control characters, space, '/' or ASCII capitals, not beginning with a
 * dot, at most STORE_USER_MAX octets. */
bool maildir_user_ok(struct span user);

/* The key of a name in UTF-8: its levels are separated by '.', none is empty. key_out has STORE_BOX_MAX + 1 octets.
 * false when no mailbox can have that name. INBOX in any case is INBOX. */
bool maildir_key(struct span name, char *key_out);

/* The way back. name_out has STORE_BOX_MAX * 3 + 1 octets. false: not modified UTF-7, or not as we would write it. */
bool maildir_key_name(const char *key, char *name_out);

/* --- names of messages ------------------------------------------------------------------------------- */

struct maildir_name {
	size_t base;     /* octets in front of ":2," */
	uint32_t flags;  /* system flags and keywords; other letters are ignored */
	bool has_info;   /* ":2," is there */
	bool has_size, has_virtual, has_uid;
	uint64_t size;   /* S=: octets of the file */
	uint64_t virt;   /* W=: with CRLF */
	uint32_t uid;    /* U= */
};

/* Takes a file's name apart. false: not a message's (empty, begins with a dot, control characters, a base that is
 * too long). Pure. */
bool maildir_name_parse(struct span name, struct maildir_name *out);

/* What our own names are made of: <sec>.M<us>P<lsn>.<host>,S=<size>,U=<uid>. */
struct maildir_stamp {
	uint64_t sec;
	uint32_t us;
	uint64_t lsn; /* of the transaction: with the UID the name is unique for ever */
};

/* base_out has MAILDIR_BASE_MAX + 1 octets. host as maildir_host() made it. */
void maildir_base(const struct maildir_stamp *st, const char *host, uint64_t size, uint32_t uid,
		  char *base_out);

/* The host's name with what may not be in a file's name replaced. out has MAILDIR_HOST_MAX + 1 octets. */
void maildir_host(const char *host, char *out);

/* Writes ":2," and the letters of flags, in Maildir's order; NUL-ended. out has MAILDIR_FLAGS_MAX + 1 octets. */
void maildir_info(uint32_t flags, char *out);

/* 32 hexadecimal digits and NUL: the GUID of a message with that base name, always the same one. Our own
 * names give time, lsn and UID; others a hash. */
void maildir_guid(struct span base, char guid_out[33]);

/* --- folders ------------------------------------------------------------------------------------------ */

/* The user's Maildir; made when it is not there and make is set. A descriptor, or PT_ENOENT, PT_EFULL, PT_EIO. */
int maildir_user_open(int mail_fd, const char *user, bool make) PT_MUST_USE;

/* A mailbox's folder below the user's Maildir, with its cur, new and tmp when make is set. */
int maildir_box_open(int user_fd, const char *key, bool make) PT_MUST_USE;

/* Makes the three folders of a mailbox where they are not; a file or link that has the name of one is removed. */
int maildir_box_mend(int box_fd) PT_MUST_USE;

/* Opens a file below dir_fd without following any link and without waiting for anything; regular files only.
 * flags as for open(2). A descriptor or PT_ENOENT, PT_EFULL, PT_EIO. */
int maildir_open(int dir_fd, const char *path, int flags) PT_MUST_USE;

/* rename(2), link(2), unlink(2) and a new time of change (seconds since 1970) for files below dir_fd. No folder on the way
 * may be a link: a cur/ that points into another mailbox would lead us there. A link that has its new name already is
 * no error. 0 or PT_ENOENT, PT_EFULL, PT_EIO. */
int maildir_rename(int from_fd, const char *from, int to_fd, const char *to) PT_MUST_USE;
int maildir_link(int from_fd, const char *from, int to_fd, const char *to) PT_MUST_USE;
int maildir_unlink(int dir_fd, const char *path) PT_MUST_USE;
int maildir_set_time(int dir_fd, const char *path, int64_t sec) PT_MUST_USE;

/* "INBOX" -> ".", "Sent" -> ".Sent". out has STORE_BOX_MAX + 2 octets. */
void maildir_folder(const char *key, char *out);

/* PT_ENOENT, PT_EFULL, PT_EIO for an errno. */
int maildir_error(int error);

/* Writes all of it where the descriptor stands: 0, PT_EFULL, PT_EIO; then some of it may be there. */
int maildir_write(int fd, const uint8_t *p, size_t n) PT_MUST_USE;

/* Adds whole lines to a file of lines that was opened with O_RDWR | O_APPEND: all, or none. What is there may end in half a line, of a
 * write that was cut: it is ended first, or the new one would be lost in it. Results as above. */
int maildir_append(int fd, const uint8_t *p, size_t n) PT_MUST_USE;

#endif
