/* ipc/msg.h - every message between our processes: one message is one struct.
 *
 * The table below is the whole protocol; struct, encoder and decoder of each message are made from
 * its field list. Who may send what to whom, and when, is the receiver's rule table (ipc/rules.h); prose
 * is in doc/IPC.md, which tests hold against this table.
 *
 * Field types: u8 u32 u64, str (printable text, at most 64 KiB - 1 on the wire) and bytes. A decoded
 * str or bytes field borrows from the frame. A decoder refuses a payload with octets too few or too
 * many, and a descriptor that is missing or not expected.
 *
 * Workers outlive an upgrade, and have to do with helpers of another version. So a message between them keeps its number and its
 * fields, and may only get more behind these (MSG_GROWN says how many it had at first): where the sender is older they
 * are 0 or empty; where it is newer, and the receiver a worker, what follows the fields that are known is passed over. */
#ifndef IPC_MSG_H
#define IPC_MSG_H

#include "ipc/frame.h"

/*        type  name          travels with a descriptor */
#define MSG_LIST(X)                                                                                \
	/* parent to any child */                                                                  \
	X(1, CONFIG, config, 1)                                                                    \
	X(2, TABLE, table, 1)                                                                      \
	X(3, LOG_END, log_end, 1)                                                                  \
	X(4, CHANNEL, channel, 1)                                                                  \
	X(5, LISTENER, listener, 1)                                                                \
	X(6, CRED_BEGIN, cred_begin, 0)                                                            \
	X(7, CRED_FILE, cred_file, 1)                                                              \
	X(8, CRED_END, cred_end, 0)                                                                \
	X(9, CRED_COMMIT, cred_commit, 0)                                                          \
	X(10, CRED_RELEASE, cred_release, 0)                                                       \
	X(11, START, start, 0)                                                                     \
	X(12, DRAIN, drain, 0)                                                                     \
	X(13, STOP, stop, 0)                                                                       \
	X(14, PROBE, probe, 0)                                                                     \
	X(15, SEED, seed, 0)                                                                       \
	X(16, TICKET_KEY, ticket_key, 1)                                                           \
	X(17, CRED_STATE, cred_state, 0)                                                           \
	X(20, PROGRAMS, programs, 1)                                                               \
	X(26, AUTH_SECRET, auth_secret, 1)                                                         \
	/* any child to the parent */                                                              \
	X(32, READY, ready, 0)                                                                     \
	X(33, CRED_ACK, cred_ack, 0)                                                               \
	X(34, CRED_CHAIN, cred_chain, 1)                                                           \
	X(35, PROBE_RESULT, probe_result, 0)                                                       \
	X(36, CRED_UNUSED, cred_unused, 0)                                                         \
	X(40, STORE_CONDEMNED, store_condemned, 0)                                                 \
	X(42, AUTH_LOADED, auth_loaded, 0)                                                         \
	/* worker and keyholder */                                                                 \
	X(48, SIGN, sign, 0)                                                                       \
	X(49, SIGNED, signed, 0)                                                                   \
	/* anyone to control */                                                                    \
	X(64, LOG, log, 0)                                                                         \
	/* parent and control */                                                                   \
	X(80, LOG_SENDER, log_sender, 1)                                                           \
	X(81, LOG_TARGET, log_target, 1)                                                           \
	X(82, CONTROL_SOCKET, control_socket, 1)                                                   \
	X(83, PROCESS, process, 0)                                                                 \
	X(84, STATE, state, 0)                                                                     \
	X(85, LOG_REOPEN, log_reopen, 0)                                                           \
	X(96, RELOAD, reload, 0)                                                                   \
	X(97, RELOADED, reloaded, 0)                                                               \
	X(98, RECORDER, recorder, 1)                                                               \
	X(99, RETIRE, retire, 0)                                                                   \
	X(100, RETIRED, retired, 0)                                                           \
	/* worker and spawn */                                                                     \
	X(112, PROGRAM_START, program_start, 0)                                                    \
	X(113, PROGRAM_END, program_end, 0)                                                        \
	X(114, PROGRAM_INPUT, program_input, 1)                                                    \
	X(115, PROGRAM_OUTPUT, program_output, 1)                                                  \
	X(116, PROGRAM_REFUSED, program_refused, 0)                                                \
	X(117, PROGRAM_ENDED, program_ended, 0)                                                        \
	/* worker and auth */                                                                      \
	X(128, AUTH_IDENTIFY, auth_identify, 0)                                                    \
	X(129, AUTH_IDENTITY, auth_identity, 0)                                                    \
	X(130, AUTH_RECIPIENT, auth_recipient, 0)                                                  \
	X(131, AUTH_RECIPIENTS, auth_recipients, 0)                                                \
	X(132, AUTH_SENDER, auth_sender, 0)                                                        \
	X(133, AUTH_SENDER_IS, auth_sender_is, 0)                                                  \
	X(134, AUTH_SASL_BEGIN, auth_sasl_begin, 0)                                                \
	X(135, AUTH_SASL_STEP, auth_sasl_step, 0)                                                  \
	X(136, AUTH_SASL_ABORT, auth_sasl_abort, 0)                                                \
	X(137, AUTH_SASL_ANSWER, auth_sasl_answer, 0)                                              \
	X(138, AUTH_CHANGED, auth_changed, 0)                                                      \
	X(139, AUTH_OUSTED, auth_ousted, 0)                                                        \
	/* the store's clients and the store */                                                    \
	X(160, STORE_BODY, store_body, 0)                                                          \
	X(161, STORE_FILE, store_file, 0)                                                          \
	X(162, STORE_FILE_FD, store_file_fd, 1)                                                    \
	X(163, STORE_DROP, store_drop, 0)                                                          \
	X(164, STORE_ADD, store_add, 0)                                                            \
	X(165, STORE_COPY, store_copy, 0)                                                          \
	X(166, STORE_FLAGS, store_flags, 0)                                                        \
	X(167, STORE_EXPUNGE, store_expunge, 0)                                                    \
	X(168, STORE_BOX, store_box, 0)                                                            \
	X(169, STORE_PUT, store_put, 0)                                                            \
	X(170, STORE_COMMIT, store_commit, 0)                                                      \
	X(171, STORE_REPLY, store_reply, 0)                                                        \
	X(172, STORE_VIEW_OPEN, store_view_open, 0)                                                \
	X(173, STORE_VIEW, store_view, 1)                                                          \
	X(174, STORE_EVENT, store_event, 0)                                                        \
	X(175, STORE_VIEW_CLOSE, store_view_close, 0)                                              \
	X(176, STORE_FETCH, store_fetch, 0)                                                        \
	X(177, STORE_MESSAGE, store_message, 1)                                                    \
	X(178, STORE_BOXES, store_boxes, 0)                                                        \
	X(179, STORE_BOX_STATUS, store_box_status, 0)                                              \
	X(180, STORE_GET, store_get, 0)                                                            \
	X(181, STORE_VALUE, store_value, 0)                                                        \
	X(182, STORE_ROOM, store_room, 0)                                                          \
	X(183, STORE_ROOM_IS, store_room_is, 0)                                                    \
	X(184, STORE_ADMIN, store_admin, 0)                                                        \
	X(185, STORE_ROW, store_row, 0)                                                            \
	X(189, STORE_WATCH, store_watch, 0)                                                        \
	X(190, STORE_WATCHED, store_watched, 0)                                                    \
	X(191, STORE_WATCH_END, store_watch_end, 0)                                                \
	X(192, STORE_QUEUE, store_queue, 0)                                                        \
	X(193, STORE_QUEUE_RCPT, store_queue_rcpt, 0)                                              \
	X(194, STORE_OUTCOME, store_outcome, 0)                                                    \
	X(195, STORE_CLAIM, store_claim, 0)                                                        \
	X(196, STORE_CLAIMED_RCPT, store_claimed_rcpt, 0)                                          \
	X(197, STORE_CLAIMED, store_claimed, 1)                                                    \
	X(198, STORE_HOLD, store_hold, 0)                                                          \
	X(199, STORE_WRITTEN, store_written, 0)

/* The effective configuration as text (conf_show) in a sealed memfd. */
#define MSG_CONFIG(F) F(u64, generation)
/* A worker's shared table. "own": to be written by the receiver; otherwise it is read only. */
#define MSG_TABLE(F) F(u32, slot) F(u8, own)
/* A new end for log frames, after control was started again. */
#define MSG_LOG_END(F) F(u8, unused)
/* A channel to another process: to a worker the keyholder's; to the keyholder a worker's (slot). */
#define MSG_CHANNEL(F) F(u8, role) F(u32, slot) F(u64, generation)
/* A listening socket: index of the service, and of the listen directive in it. */
#define MSG_LISTENER(F) F(u32, service) F(u32, listen)
/* A credential generation begins: what follows belongs to it until CRED_END. config: the generation of the
 * configuration that it is for. */
#define MSG_CRED_BEGIN(F) F(u64, generation) F(u64, config)
/* One file of it. set: index of the service; kind: enum cred_kind; index: in its list; key: the
 * number by which a worker names the key when it asks for a signature. */
#define MSG_CRED_FILE(F) F(u64, generation) F(u32, set) F(u8, kind) F(u32, index) F(u32, key) F(str, path)
#define MSG_CRED_END(F) F(u64, generation)
#define MSG_CRED_COMMIT(F) F(u64, generation)
/* Forget a generation: it failed, or nobody needs it any more. */
#define MSG_CRED_RELEASE(F) F(u64, generation)
#define MSG_START(F) F(u8, unused)
/* Accept no more; sessions go on for at most that long, then get the goodbye. */
#define MSG_DRAIN(F) F(u32, timeout_ms)
/* Accept no more; goodbye at once to idle sessions, the rest at most that long. */
#define MSG_STOP(F) F(u32, timeout_ms)
/* Try something forbidden (--enable-probe only): enum probe. */
#define MSG_PROBE(F) F(u8, what)

/* To control: the credential generation in use, when one last came into use and when changed files were last refused
 * (seconds since 1970, 0: never), and why that was. */
#define MSG_CRED_STATE(F) F(u64, generation) F(u64, done) F(u64, failed) F(str, text)
/* The secret that address keys in the tables are made with. */
#define MSG_SEED(F) F(u64, seed)
/* The master key of session tickets, 64 octets in a sealed memfd. */
#define MSG_TICKET_KEY(F) F(u8, unused)

/* The table of programs that run, shared with the parent (proc/groups.h). */
#define MSG_PROGRAMS(F) F(u8, unused)
/* What salts of users who do not exist are made with, 64 octets in a sealed memfd. */
#define MSG_AUTH_SECRET(F) F(u8, unused)

/* Confined and waiting; text: what the kernel or the uid did not allow, empty if nothing. */
#define MSG_READY(F) F(str, limitations)
#define MSG_CRED_ACK(F) F(u64, generation) F(u8, ok) F(str, text)
/* The certificates that the keyholder found for a certificate directive: PEM, leaf first, in a sealed
 * memfd, never with a key. */
#define MSG_CRED_CHAIN(F) F(u64, generation) F(u32, key)
/* The last session of a credential generation that was replaced has ended. */
#define MSG_CRED_UNUSED(F) F(u64, generation)
#define MSG_PROBE_RESULT(F) F(u8, what) F(u32, error)

/* That worker did on its channel to the store what no worker does, and must end. text: what it did. */
#define MSG_STORE_CONDEMNED(F) F(u32, pid) F(str, text)

/* Of files that changed while the configuration stayed: taken, or why not. Users they are now, or still. */
#define MSG_AUTH_LOADED(F) F(u64, generation) F(u8, ok) F(u32, users) F(str, text)

/* algorithm: a gnutls_sign_algorithm_t; hashed: data is a digest already. */
#define MSG_SIGN(F) F(u64, generation) F(u32, key) F(u32, algorithm) F(u8, hashed) F(bytes, data)
#define MSG_SIGNED(F) F(u8, ok) F(bytes, signature)

/* fields: name and value strings, each ended by a NUL, in turns. */
#define MSG_LOG(F) F(u64, time_us) F(u8, level) F(str, text) F(bytes, fields)

/* The other end of a process's log. */
#define MSG_LOG_SENDER(F) F(u8, role) F(u32, pid) F(u32, slot)
#define MSG_LOG_TARGET(F) F(u8, kind) F(u8, format)
#define MSG_CONTROL_SOCKET(F) F(u32, owner_uid)
/* A process as status shows it. pid 0: it has ended, forget it. */
#define MSG_PROCESS(F) F(u8, role) F(u32, slot) F(u32, pid) F(u64, generation) F(u8, state) F(u32, restarts)
#define MSG_STATE(F)                                                                               \
	F(u64, generation) F(u8, state) F(u32, pid) F(u64, started) F(str, config) F(str, limitations)
/* control to parent: the log's target is gone or full of errors; open it again. */
#define MSG_LOG_REOPEN(F) F(u8, unused)
#define MSG_RELOAD(F) F(u32, uid)
/* The memory of a slot's flight recorder. "own": to be written by the receiver; otherwise it is read only. */
#define MSG_RECORDER(F) F(u32, slot) F(u8, own)
/* The worker of that slot has ended: keep what is worth keeping of its records, and say so. */
#define MSG_RETIRE(F) F(u32, slot) F(u32, pid)
#define MSG_RETIRED(F) F(u32, slot) F(u32, pid)
#define MSG_RELOADED(F) F(u8, ok) F(u64, generation) F(str, text)

/* Start the program of a service (index in the configuration of the worker's generation). environment: what
 * proc/program_env.h makes. The request id names the program from here on. */
#define MSG_PROGRAM_START(F) F(u32, service) F(bytes, environment)
/* Nobody needs it any more: end it, with all of its process group. */
#define MSG_PROGRAM_END(F) F(u8, unused)
/* Our end of its standard input; of its output: it runs. */
#define MSG_PROGRAM_INPUT(F) F(u8, unused)
#define MSG_PROGRAM_OUTPUT(F) F(u32, pid)
/* It does not. why: enum engine_no_program; text: for the log. */
#define MSG_PROGRAM_REFUSED(F) F(u8, why) F(str, text)
/* It has ended: by itself with that code, or by that signal (the other is 0). */
#define MSG_PROGRAM_ENDED(F) F(u32, code) F(u32, signal)
/* Questions of a worker to auth; result is an enum auth_result (auth/result.h). What a client has typed is bytes. */
#define MSG_AUTH_IDENTIFY(F) F(str, user)
#define MSG_AUTH_IDENTITY(F) F(u8, result) F(str, user)
#define MSG_AUTH_RECIPIENT(F) F(bytes, address)
/* users: for each its quota (8 octets) and its address with a NUL (proc/auth_wire.h). */
#define MSG_AUTH_RECIPIENTS(F) F(u8, result) F(bytes, users) F(str, detail)
#define MSG_AUTH_SENDER(F) F(str, user) F(bytes, address)
#define MSG_AUTH_SENDER_IS(F) F(u8, result) F(str, allowed)
/* flags: AUTH_WIRE_TLS and others. The request id is the exchange's for all that follows. */
#define MSG_AUTH_SASL_BEGIN(F)                                                                     \
	F(u8, mechanism) F(u8, flags) F(u64, address_key) F(str, identity) F(bytes, binding) F(bytes, initial)
#define MSG_AUTH_SASL_STEP(F) F(bytes, message)
#define MSG_AUTH_SASL_ABORT(F) F(u8, unused)
#define MSG_AUTH_SASL_ANSWER(F) F(u8, result) F(str, user) F(bytes, data) F(str, by)
/* The users are others: what was answered before this may not hold any more. */
#define MSG_AUTH_CHANGED(F) F(u8, unused)
/* What has become (enum auth_change, proc/auth_wire.h) of these users, each with a NUL. */
#define MSG_AUTH_OUSTED(F) F(u8, what) F(bytes, users)
/* --- store (all requests with an id; what belongs to one transaction has the same) --- */

/* A body of at most 32 KiB, or a piece of it: the next STORE_BODY has more of the same. The first of a transaction is number 0. */
#define MSG_STORE_BODY(F) F(u8, more) F(bytes, octets)
/* A place for a larger one, please. file: the client's number for it. */
#define MSG_STORE_FILE(F) F(u32, file)
/* margin: octets that whoever writes leaves free on the disk. */
#define MSG_STORE_FILE_FD(F) F(u32, file) F(u64, margin)
#define MSG_STORE_DROP(F) F(u32, file)
/* So many octets of it are in the file. */
#define MSG_STORE_WRITTEN(F) F(u32, file) F(u64, octets)
/* in_file: body is the number of a file, otherwise of a STORE_BODY. keywords: each ended by a NUL. quota: octets that the
 * user may have in all, 0: no limit. */
#define MSG_STORE_ADD(F)                                                                           \
	F(str, user) F(str, box) F(u8, in_file) F(u32, body) F(u64, date) F(u8, has_flags)         \
	F(u32, flags) F(bytes, keywords) F(u64, quota)
#define MSG_STORE_COPY(F) F(u32, view) F(str, uids) F(str, box) F(u8, move)
#define MSG_STORE_FLAGS(F)                                                                         \
	F(u32, view) F(str, uids) F(u8, op) F(u32, flags) F(bytes, keywords) F(u64, unchangedsince)
#define MSG_STORE_EXPUNGE(F) F(u32, view) F(str, uids)
#define MSG_STORE_BOX(F) F(str, user) F(u8, op) F(str, box) F(str, to)
#define MSG_STORE_PUT(F)                                                                           \
	F(str, space) F(str, key) F(u8, has_value) F(bytes, value) F(u64, expect) F(u32, ttl_s)
/* The transaction is whole: do it. transaction: 16 random octets. */
#define MSG_STORE_COMMIT(F) F(bytes, transaction)
/* rc: enum store_rc. */
#define MSG_STORE_REPLY(F)                                                                         \
	F(u8, rc) F(u64, number) F(u32, uidvalidity) F(u64, modseq) F(str, uids) F(str, sources) F(str, text)
#define MSG_STORE_VIEW_OPEN(F) F(u32, view) F(str, user) F(str, box)
/* The mailbox's log, to be read; octets of it are there. Also instead of the one before. */
#define MSG_STORE_VIEW(F) F(u32, view) F(u64, octets)
/* gone 0: the log has that many octets now. */
#define MSG_STORE_EVENT(F) F(u32, view) F(u8, gone) F(u64, octets)
#define MSG_STORE_VIEW_CLOSE(F) F(u32, view)
#define MSG_STORE_FETCH(F) F(u32, view) F(u32, uid)
#define MSG_STORE_MESSAGE(F) F(u64, octets)
#define MSG_STORE_BOXES(F) F(str, user)
/* One mailbox of the answer to STORE_BOXES, which ends with a STORE_REPLY. */
#define MSG_STORE_BOX_STATUS(F)                                                                    \
	F(str, box) F(u8, present) F(u8, subscribed) F(u32, uidvalidity) F(u32, uidnext)           \
	F(u32, messages) F(u32, unseen) F(u32, recent) F(u32, deleted) F(u64, octets) F(u64, modseq) F(str, id)
#define MSG_STORE_GET(F) F(str, space) F(str, key)
#define MSG_STORE_VALUE(F) F(u64, version) F(bytes, value)
/* An operator's question: enum admin_what (store/admin.h). fields: a row of the answer (store/row.h). */
#define MSG_STORE_ADMIN(F) F(u8, what) F(u8, repair) F(str, user) F(str, box)
#define MSG_STORE_ROW(F) F(bytes, fields)
/* How much more may that user have, with that quota (not 0)? */
#define MSG_STORE_ROOM(F) F(str, user) F(u64, quota)
#define MSG_STORE_ROOM_IS(F) F(u64, octets)
/* A message for the queue; its recipients follow. body as in STORE_ADD. due: the first attempt, 0: now. */
#define MSG_STORE_QUEUE(F)                                                                         \
	F(u8, in_file) F(u32, body) F(str, sender) F(bytes, params) F(str, identity) F(str, service) F(u64, due)
#define MSG_STORE_QUEUE_RCPT(F) F(str, address) F(bytes, params)
/* What an attempt (from 1) came to for a recipient (from 0). state: enum store_rcpt_state. */
#define MSG_STORE_OUTCOME(F)                                                                       \
	F(u64, qid) F(u32, rcpt) F(u32, attempt) F(u8, state) F(u64, next) F(bytes, reply)
#define MSG_STORE_CLAIM(F) F(u32, max) F(u32, lease_s)
/* A recipient that is due, of the STORE_CLAIMED that follows. */
#define MSG_STORE_CLAIMED_RCPT(F) F(u32, rcpt) F(u32, attempts) F(str, address) F(bytes, params) F(bytes, reply)
#define MSG_STORE_CLAIMED(F)                                                                       \
	F(u64, qid) F(u64, received) F(u64, octets) F(str, sender) F(bytes, params) F(str, identity) F(str, service)
/* Keep it for so long; 0: no more. */
#define MSG_STORE_HOLD(F) F(u64, qid) F(u32, lease_s)
/* Say from now on which keys of that space change; empty: when something in the queue is due. */
#define MSG_STORE_WATCH(F) F(u32, watch) F(str, space)
/* That one; empty: any may have, look. */
#define MSG_STORE_WATCHED(F) F(u32, watch) F(str, key) F(u64, version)
#define MSG_STORE_WATCH_END(F) F(u32, watch)

/* Messages that have more fields than they had at first, and how many that was. */
#define MSG_GROWN(X)                                                                               \
	X(AUTH_SASL_ANSWER, 3)

enum msg_type {
#define MSG_ENUM(number, upper, lower, fd) MSG_T_##upper = (number),
	MSG_LIST(MSG_ENUM)
#undef MSG_ENUM
};

typedef uint8_t msg_u8;
typedef uint32_t msg_u32;
typedef uint64_t msg_u64;
typedef struct span msg_str;
typedef struct span msg_bytes;

#define MSG_MEMBER(type, name) msg_##type name;
#define MSG_DECLARE(number, upper, lower, fd)                                                      \
	struct msg_##lower {                                                                       \
		MSG_##upper(MSG_MEMBER)                                                            \
	};                                                                                         \
	int msg_##lower##_encode(const struct msg_##lower *m, uint32_t id, struct frame *f_out)    \
		PT_MUST_USE;                                                                       \
	int msg_##lower##_decode(const struct frame *f, struct msg_##lower *m_out) PT_MUST_USE;
/* msg_X_encode: PT_ETOOBIG when the payload does not fit. msg_X_decode: PT_EPROTO. */
MSG_LIST(MSG_DECLARE)
#undef MSG_DECLARE

/* "CONFIG", or "unknown". Static storage. */
const char *msg_name(unsigned type);

/* What a worker is sent by those that an upgrade replaces: its payload may be longer than we know. */
bool msg_may_be_longer(unsigned type);

/* How many fields it has at least. */
unsigned msg_fields_min(unsigned type);

/* Whether the type exists, and whether it travels with a descriptor. */
bool msg_known(unsigned type, bool *with_fd_out);

#endif
