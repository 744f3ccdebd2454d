/* conf/conf_schema.c - the tables. Order is the manual's and conf_show()'s; help texts are
 * mdoc-safe plain sentences. A directive whose work is not done yet is not here. */
#include "conf/conf_schema.h"

#include <string.h>

static const struct conf_choice choices_client_certificate[] = {
	{ "none", CONF_CC_NONE },
	{ "request", CONF_CC_REQUEST },
	{ "optional", CONF_CC_OPTIONAL },
	{ "require", CONF_CC_REQUIRE },
	{ NULL, 0 },
};

static const struct conf_choice choices_tls_protocols[] = {
	{ "1.2", CONF_TLS_1_2 },
	{ "1.3", CONF_TLS_1_3 },
	{ NULL, 0 },
};

static const struct conf_choice choices_verify[] = {
	{ "once", CONF_VERIFY_ONCE },
	{ "always", CONF_VERIFY_ALWAYS },
	{ NULL, 0 },
};

static const struct conf_choice choices_after_close[] = {
	{ "plaintext", CONF_AFTER_CLOSE_PLAINTEXT },
	{ "disconnect", CONF_AFTER_CLOSE_DISCONNECT },
	{ NULL, 0 },
};

static const struct conf_choice choices_switch[] = {
	{ "on", true },
	{ "off", false },
	{ NULL, 0 },
};

static const struct conf_choice choices_protocol[] = {
	{ "line", CONF_PROTOCOL_LINE },
	{ "exec", CONF_PROTOCOL_EXEC },
	{ "smtp", CONF_PROTOCOL_SMTP },
	{ "submission", CONF_PROTOCOL_SUBMISSION },
	{ "lmtp", CONF_PROTOCOL_LMTP },
	{ NULL, 0 },
};

static const struct conf_choice choices_login[] = {
	{ "certificate", CONF_LOGIN_CERTIFICATE },
	{ "password", CONF_LOGIN_PASSWORD },
	{ "none", CONF_LOGIN_NONE },
	{ NULL, 0 },
};

static const struct conf_choice choices_start[] = {
	{ "after-tls", CONF_START_AFTER_TLS },
	{ "at-once", CONF_START_AT_ONCE },
	{ NULL, 0 },
};

const struct conf_choice conf_choices_listen[] = {
	{ "starttls", CONF_LISTEN_STARTTLS },
	{ "starttls-required", CONF_LISTEN_STARTTLS_REQUIRED },
	{ "tls", CONF_LISTEN_TLS },
	{ "plain", CONF_LISTEN_PLAIN },
	{ NULL, 0 },
};

const struct conf_choice conf_choices_log_format[] = {
	{ "text", CONF_LOG_TEXT },
	{ "json", CONF_LOG_JSON },
	{ NULL, 0 },
};

const struct conf_choice conf_choices_map[] = {
	{ "san-email", CONF_MAP_SAN_EMAIL },
	{ NULL, 0 },
};

#define MAIL CONF_PROTOCOLS_MAIL
#define SUBMISSION (1u << CONF_PROTOCOL_SUBMISSION)

static const struct conf_directive top[] = {
	{ .name = "hostname",
	  .type = CONF_T_HOSTNAME,
	  .max = 253,
	  .unit = "the name of the machine",
	  .args = "NAME",
	  .help = "The name by which the server calls itself.",
	  .offset = offsetof(struct conf, hostname) },
	{ .name = "domain",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_DOMAINS_MAX,
	  .args = "DOMAIN ...",
	  .help = "The domains whose mail ends here: an address in one of them is a user's, or "
		  "nobody's.",
	  .read = conf_read_domain,
	  .show = conf_show_domain },
	{ .name = "postmaster",
	  .type = CONF_T_SPECIAL,
	  .unit = "the first user of the users file",
	  .args = "USER@DOMAIN",
	  .help = "The user or alias who gets what is sent to postmaster, with each of the domains "
		  "and with none, where nobody has such an address.",
	  .read = conf_read_postmaster,
	  .show = conf_show_postmaster },
	{ .name = "users",
	  .type = CONF_T_SPECIAL,
	  .args = "file PATH",
	  .help = "Who has a mailbox and may log in; see postern-users(5). A change is taken within a "
		  "second, without a reload, and ends the sessions of those who are removed.",
	  .read = conf_read_users,
	  .show = conf_show_users },
	{ .name = "mail",
	  .type = CONF_T_PATH,
	  .max = CONF_PATH_MAX,
	  .args = "DIR",
	  .help = "The folder of the mailboxes; without it there are none. A mailbox is a Maildir, DIR/ADDRESS/Maildir.",
	  .offset = offsetof(struct conf, mail) },
	{ .name = "journal-size",
	  .type = CONF_T_NUMBER,
	  .min = 4,
	  .max = 16384,
	  .def = "256",
	  .unit = "MiB",
	  .args = "MIB",
	  .help = "Room on the disk of the state folder for what has been accepted and is not yet in the mailboxes. Half of it is "
		  "for what comes at once; when more is full, mail is taken as fast as mailboxes are written.",
	  .offset = offsetof(struct conf, journal_mib) },
	{ .name = "state",
	  .type = CONF_T_PATH,
	  .max = CONF_PATH_MAX,
	  .def = LOCALSTATEDIR "/lib/postern",
	  .args = "DIR",
	  .help = "The folder of everything that outlives the server: keys, the device registry.",
	  .offset = offsetof(struct conf, state) },
	{ .name = "workers",
	  .type = CONF_T_NUMBER,
	  .flags = CONF_F_AUTO,
	  .min = 1,
	  .max = CONF_WORKERS_MAX,
	  .def = "auto",
	  .unit = "one for each processor",
	  .args = "auto | NUMBER",
	  .help = "How many processes hold client connections.",
	  .offset = offsetof(struct conf, workers) },
	{ .name = "log",
	  .type = CONF_T_SPECIAL,
	  .def = "syslog format text",
	  .args = "syslog | stderr | file PATH [format text | json]",
	  .help = "Where messages go, and whether one line is a sentence or a JSON object.",
	  .read = conf_read_log,
	  .show = conf_show_log },
	{ .name = "recorder",
	  .type = CONF_T_WORD,
	  .def = "on",
	  .args = "on | off",
	  .help = "Whether the steps of each connection are kept for a while, for postern trace and "
		  "postern why. The log says why a connection failed either way.",
	  .offset = offsetof(struct conf, recorder),
	  .choices = choices_switch },
	{ .name = "drain",
	  .type = CONF_T_DURATION,
	  .max = 7 * CONF_DAY_MS,
	  .def = "1h",
	  .args = "TIME",
	  .help = "How long sessions from before a reload may live on until they get their "
		  "protocol's goodbye.",
	  .offset = offsetof(struct conf, drain_ms) },
	{ .name = "stop-timeout",
	  .type = CONF_T_DURATION,
	  .max = 3600 * 1000,
	  .def = "10s",
	  .args = "TIME",
	  .help = "How long a command under way may go on when the server is told to stop.",
	  .offset = offsetof(struct conf, stop_timeout_ms) },
	{ .name = "linger",
	  .type = CONF_T_DURATION,
	  .min = 1,
	  .max = 60 * 1000,
	  .def = "2s",
	  .args = "TIME",
	  .help = "How long the server waits for the other end of a connection that it closes.",
	  .offset = offsetof(struct conf, linger_ms) },
	{ .name = "max-connections",
	  .type = CONF_T_NUMBER,
	  .min = 1,
	  .max = 1000000,
	  .def = "20000",
	  .args = "NUMBER",
	  .help = "Client connections at a time, over all services.",
	  .offset = offsetof(struct conf, max_connections) },
	{ .name = "pid-file",
	  .type = CONF_T_PATH,
	  .max = CONF_PATH_MAX,
	  .def = RUNSTATEDIR "/postern/posternd.pid",
	  .args = "PATH",
	  .help = "Holds the process number of the parent while it runs.",
	  .offset = offsetof(struct conf, pid_file) },
	{ .name = "control",
	  .type = CONF_T_BLOCK,
	  .help = "The socket that the postern command speaks to.",
	  .block = &conf_schema_control },
	{ .name = "tls",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .args = "NAME",
	  .help = "Certificates and the rules of TLS, for services to name.",
	  .block = &conf_schema_tls,
	  .read = conf_read_tls,
	  .show = conf_show_tls },
	{ .name = "identity",
	  .type = CONF_T_BLOCK,
	  .help = "How a trusted client certificate becomes a user.",
	  .block = &conf_schema_identity },
	{ .name = "service",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .args = "NAME",
	  .help = "A protocol on one or more addresses.",
	  .block = &conf_schema_service,
	  .read = conf_read_service,
	  .show = conf_show_service },
};
const struct conf_block conf_schema_top = { "the file", top, PT_COUNT(top) };

static const struct conf_directive control[] = {
	{ .name = "socket",
	  .type = CONF_T_PATH,
	  .max = CONF_SOCKET_MAX,
	  .def = RUNSTATEDIR "/postern/control",
	  .args = "PATH",
	  .help = "Where the socket is made, with mode 0660.",
	  .offset = offsetof(struct conf, control_socket) },
	{ .name = "group",
	  .type = CONF_T_NAME,
	  .max = 32,
	  .def = "postern-admin",
	  .args = "NAME",
	  .help = "The group whose members may read; changes are for root and the owner.",
	  .offset = offsetof(struct conf, control_group) },
};
const struct conf_block conf_schema_control = { "a control block", control, PT_COUNT(control) };

static const struct conf_directive identity[] = {
	{ .name = "map",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .args = "san-email [from FILE]",
	  .help = "Each e-mail address in the certificate's subjectAltName is tried as the user. "
		  "With a file, only certificates that end in a CA of it are meant; it adds no "
		  "trust of its own. Where client-ca lacks a CA of the file the rule does not apply; "
		  "somewhere it must have all.",
	  .choices = conf_choices_map,
	  .read = conf_read_map,
	  .show = conf_show_map },
	{ .name = "impersonate",
	  .type = CONF_T_SPECIAL,
	  .args = "FILE",
	  .help = "Who may act as another user: a line begins with a user, and the users that he may "
		  "log in as follow, or * for every one.",
	  .read = conf_read_impersonate,
	  .show = conf_show_impersonate },
};
const struct conf_block conf_schema_identity = { "an identity block", identity,
						 PT_COUNT(identity) };

static const struct conf_directive tls[] = {
	{ .name = "certificate",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT | CONF_F_REQUIRED,
	  .max = CONF_CERTS_MAX,
	  .args = "FILE [key FILE] [passphrase FILE]",
	  .help =
	      "A certificate of the server with its chain, the server's own first, and its "
	      "private key, both PEM; without key, the key is in the same file. Or a PKCS#12 file, which "
	      "has all of these. The first line of the passphrase file opens an encrypted key. Up to 8: of those for "
	      "the host that the client asks for (or of all), the first that it can verify is taken, "
	      "whatever the order here: ECDSA, Ed25519, RSA.",
	  .read = conf_read_certificate,
	  .show = conf_show_certificate },
	{ .name = "ocsp",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_OCSP_MAX,
	  .args = "FILE ...",
	  .help = "OCSP responses for these certificates, DER or PEM, which clients that ask get along "
		  "with the certificate. Which response is for which certificate is seen from it. One that "
		  "is out of date is not sent.",
	  .read = conf_read_ocsp,
	  .show = conf_show_ocsp },
	{ .name = "protocols",
	  .type = CONF_T_SET,
	  .def = "1.2 1.3",
	  .args = "1.2 | 1.3 ...",
	  .help = "The versions of TLS that are spoken.",
	  .offset = offsetof(struct conf_tls, protocols),
	  .choices = choices_tls_protocols },
	{ .name = "priority",
	  .type = CONF_T_STRING,
	  .min = 1,
	  .max = 1024,
	  .unit = "what the server thinks best",
	  .args = "STRING",
	  .help = "A GnuTLS priority string, for experts: it replaces the server's own choice of "
		  "algorithms.",
	  .offset = offsetof(struct conf_tls, priority) },
	{ .name = "client-certificate",
	  .type = CONF_T_WORD,
	  .def = "request",
	  .args = "none | request | optional | require",
	  .help =
	      "Whether clients are asked for a certificate. With request, the handshake "
	      "completes whatever comes, and the protocol tells what was wrong. With optional, a "
	      "client need not have one, but a bad one ends the handshake. With require, having "
	      "none ends it, too.",
	  .offset = offsetof(struct conf_tls, client_certificate),
	  .choices = choices_client_certificate },
	{ .name = "client-ca",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_CLIENT_CA_MAX,
	  .args = "FILE ...",
	  .help = "The CAs that client certificates are trusted by, PEM. The system's own CAs "
		  "never count.",
	  .read = conf_read_client_ca,
	  .show = conf_show_client_ca },
	{ .name = "client-crl",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_CLIENT_CRL_MAX,
	  .args = "none | FILE ...",
	  .unit = "none",
	  .help = "Revocation lists of these CAs, PEM, any number of them in a file. A list must be "
		  "signed by a CA of client-ca.",
	  .read = conf_read_client_crl,
	  .show = conf_show_client_crl },
	{ .name = "crl-grace",
	  .type = CONF_T_DURATION,
	  .max = 30u * CONF_DAY_MS,
	  .def = "7d",
	  .args = "TIME",
	  .help = "How long after its nextUpdate a revocation list is still good enough. After "
		  "that, no certificate of its CA is trusted.",
	  .offset = offsetof(struct conf_tls, crl_grace_ms) },
	{ .name = "verify",
	  .type = CONF_T_WORD,
	  .def = "once",
	  .args = "once | always",
	  .help = "What a renegotiation does about the client's certificate. With once, it does "
		  "not ask for one again, and the identity stays. With always, it asks and judges "
		  "again, and a certificate that has changed, appeared or gone ends the "
		  "connection.",
	  .offset = offsetof(struct conf_tls, verify),
	  .choices = choices_verify },
	{ .name = "renegotiation",
	  .type = CONF_T_RATE,
	  .min = 1,
	  .max = CONF_RATE_MAX,
	  .def = "off",
	  .args = "off | NUMBER per TIME",
	  .help = "How often a client may begin a new handshake inside its session (TLS 1.2 "
		  "alone has that), in any time of that length. One more ends the connection.",
	  .offset = offsetof(struct conf_tls, renegotiation) },
	{ .name = "handshake-timeout",
	  .type = CONF_T_DURATION,
	  .min = 100,
	  .max = 600 * 1000,
	  .def = "30s",
	  .args = "TIME",
	  .help = "How long a handshake may take.",
	  .offset = offsetof(struct conf_tls, handshake_timeout_ms) },
	{ .name = "first-flight-timeout",
	  .type = CONF_T_DURATION,
	  .min = 100,
	  .max = 600 * 1000,
	  .def = "10s",
	  .args = "TIME",
	  .help = "How long the client's first message of a handshake may take.",
	  .offset = offsetof(struct conf_tls, first_flight_timeout_ms) },
	{ .name = "tickets",
	  .type = CONF_T_WORD,
	  .def = "on",
	  .args = "on | off",
	  .help = "Whether clients get session tickets, with which a later handshake is shorter; "
		  "their certificate is judged again each time.",
	  .offset = offsetof(struct conf_tls, tickets),
	  .choices = choices_switch },
	{ .name = "ticket-lifetime",
	  .type = CONF_T_DURATION,
	  .min = 60 * 1000,
	  .max = 7 * CONF_DAY_MS,
	  .def = "6h",
	  .args = "TIME",
	  .help = "How long after a full handshake its session may be resumed. Servers that share "
		  "the ticket key must have the same time here.",
	  .offset = offsetof(struct conf_tls, ticket_lifetime_ms) },
	{ .name = "name",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_HOSTS_MAX,
	  .args = "HOST ...",
	  .help = "What holds instead for clients that ask for one of these host names when they "
		  "begin TLS (SNI). With *.example.net, any one label may stand for the asterisk; a "
		  "name that is written out goes before. A client that asks for another name, or for "
		  "none, gets what the block itself says.",
	  .block = &conf_schema_name,
	  .read = conf_read_name,
	  .show = conf_show_name },
};
const struct conf_block conf_schema_tls = { "a tls block", tls, PT_COUNT(tls) };

/* What may differ by name: a client tells its name when versions and algorithms, timeouts and the room for a
 * ticket are settled already. */
static const struct conf_directive named[] = {
	{ .name = "certificate",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_CERTS_MAX,
	  .args = "FILE [key FILE] [passphrase FILE]",
	  .unit = "those of the tls block",
	  .help = "As in the tls block.",
	  .read = conf_read_certificate,
	  .show = conf_show_certificate },
	{ .name = "ocsp",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_OCSP_MAX,
	  .args = "FILE ...",
	  .unit = "those of the tls block, unless certificate is given here",
	  .help = "As in the tls block.",
	  .read = conf_read_ocsp,
	  .show = conf_show_ocsp },
	{ .name = "client-certificate",
	  .type = CONF_T_WORD,
	  .args = "none | request | optional | require",
	  .unit = "that of the tls block",
	  .help = "As in the tls block.",
	  .offset = offsetof(struct conf_tls, client_certificate),
	  .choices = choices_client_certificate },
	{ .name = "client-ca",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_CLIENT_CA_MAX,
	  .args = "FILE ...",
	  .unit = "those of the tls block",
	  .help = "As in the tls block, and instead of its CAs. Where that has revocation lists, say "
		  "here which lists are of these CAs.",
	  .read = conf_read_client_ca,
	  .show = conf_show_client_ca },
	{ .name = "client-crl",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .max = CONF_CLIENT_CRL_MAX,
	  .args = "none | FILE ...",
	  .unit = "those of the tls block",
	  .help = "As in the tls block.",
	  .read = conf_read_client_crl,
	  .show = conf_show_client_crl },
};
const struct conf_block conf_schema_name = { "a name block", named, PT_COUNT(named) };

#define EXEC (1u << CONF_PROTOCOL_EXEC)

static const struct conf_directive service[] = {
	{ .name = "protocol",
	  .type = CONF_T_WORD,
	  .flags = CONF_F_REQUIRED,
	  .args = "line | exec | smtp | submission | lmtp",
	  .help = "What is spoken; see postern-protocols(7).",
	  .offset = offsetof(struct conf_service, protocol),
	  .choices = choices_protocol },
	{ .name = "listen",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT | CONF_F_REQUIRED,
	  .max = CONF_LISTEN_MAX,
	  .args = "ADDRESS [starttls | starttls-required | tls | plain]",
	  .help = "Where the service is offered, and how TLS begins: by the client's STARTTLS, by "
		  "STARTTLS before anything else works, at once, or never (on loopback and unix "
		  "addresses only). Without a word the protocol decides; for line, exec and submission "
		  "it is starttls-required, for smtp and lmtp starttls.",
	  .choices = conf_choices_listen,
	  .read = conf_read_listen,
	  .show = conf_show_listen },
	{ .name = "tls",
	  .type = CONF_T_SPECIAL,
	  .args = "NAME [{ ... }]",
	  .help = "The tls block that the service uses. Directives of a tls block in braces hold "
		  "for this service instead of the block's own.",
	  .block = &conf_schema_tls,
	  .read = conf_read_service_tls,
	  .show = conf_show_service_tls },
	{ .name = "max-connections",
	  .type = CONF_T_NUMBER,
	  .min = 1,
	  .max = 1000000,
	  .def = "10000",
	  .args = "NUMBER",
	  .help = "Client connections of this service at a time.",
	  .offset = offsetof(struct conf_service, max_connections) },
	{ .name = "max-per-address",
	  .type = CONF_T_NUMBER,
	  .min = 1,
	  .max = 1000000,
	  .def = "100",
	  .args = "NUMBER",
	  .help = "Of these, those of one client; an IPv6 client counts by its /64, those of a unix socket do not count.",
	  .offset = offsetof(struct conf_service, max_per_address) },
	{ .name = "idle-timeout",
	  .type = CONF_T_DURATION,
	  .min = 1000,
	  .max = CONF_DAY_MS,
	  .def = "5m",
	  .args = "TIME",
	  .help = "How long a client may be silent.",
	  .offset = offsetof(struct conf_service, idle_timeout_ms) },
	{ .name = "after-close",
	  .type = CONF_T_WORD,
	  .def = "plaintext",
	  .mail_def = "disconnect",
	  .args = "plaintext | disconnect",
	  .help = "What follows when a client that began TLS with STARTTLS ends it in order "
		  "(close_notify): plaintext goes back to plaintext on the same connection, with "
		  "nobody logged in and STARTTLS offered again; disconnect closes.",
	  .offset = offsetof(struct conf_service, after_close),
	  .choices = choices_after_close },
	{ .name = "restarts",
	  .type = CONF_T_RATE,
	  .min = 1,
	  .max = CONF_RATE_MAX,
	  .def = "3 per 10m",
	  .args = "off | NUMBER per TIME",
	  .help = "How often a connection may go back to plaintext in any time of that length. "
		  "One more ends it.",
	  .offset = offsetof(struct conf_service, restarts) },
	{ .name = "login",
	  .type = CONF_T_SET,
	  .protocols = EXEC | SUBMISSION,
	  .def = "certificate",
	  .args = "certificate | password ... | none",
	  .help = "Who is served inside TLS. With certificate, those whose client certificate maps to a user; no "
		  "command is needed for that. With password, in submission, those too who give AUTH a password of the "
		  "users file. With none, in exec, everyone.",
	  .offset = offsetof(struct conf_service, login),
	  .choices = choices_login },
	{ .name = "command",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REQUIRED,
	  .protocols = EXEC,
	  .args = "PROGRAM [ARGUMENT ...]",
	  .help = "The program that each session gets, by its path, and its arguments. No shell is "
		  "involved: an argument is what stands here, whatever is in it.",
	  .read = conf_read_command,
	  .show = conf_show_command },
	{ .name = "user",
	  .type = CONF_T_STRING,
	  .protocols = EXEC,
	  .min = 1,
	  .max = 32,
	  .def = "nobody",
	  .args = "NAME",
	  .help = "The account that it runs as, with that account's groups; never root. Where the server was "
		  "not started by root, it runs as the server does.",
	  .offset = offsetof(struct conf_service, exec.user) },
	{ .name = "directory",
	  .type = CONF_T_PATH,
	  .protocols = EXEC,
	  .max = CONF_PATH_MAX,
	  .def = "/",
	  .args = "DIR",
	  .help = "Its working directory.",
	  .offset = offsetof(struct conf_service, exec.directory) },
	{ .name = "environment",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .protocols = EXEC,
	  .max = CONF_EXEC_ENVIRONMENT_MAX,
	  .args = "NAME=VALUE ...",
	  .unit = "PATH alone",
	  .help = "Variables of its environment, beside those that say who the client is.",
	  .read = conf_read_environment,
	  .show = conf_show_environment },
	{ .name = "limit",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .protocols = EXEC,
	  .args = "cpu TIME | memory SIZE | files NUMBER | file-size SIZE | processes NUMBER",
	  .help = "A resource limit of it: time on the processor, address space, open files, the size of "
		  "files that it writes, and how many processes its user may have, all together. Sizes may end in "
		  "K, M or G.",
	  .unit = "1024 files, no other",
	  .read = conf_read_limit,
	  .show = conf_show_limit },
	{ .name = "start",
	  .type = CONF_T_WORD,
	  .protocols = EXEC,
	  .def = "after-tls",
	  .args = "after-tls | at-once",
	  .help = "When a session's program is started. With after-tls, it never sees plaintext. With at-once, "
		  "there is one in plaintext, which ends when TLS begins, and another inside TLS, which "
		  "knows nothing of the first.",
	  .offset = offsetof(struct conf_service, exec.start),
	  .choices = choices_start },
	{ .name = "greeting",
	  .type = CONF_T_STRING,
	  .protocols = EXEC,
	  .min = 1,
	  .max = CONF_EXEC_TEXT_MAX,
	  .unit = "nothing",
	  .args = "TEXT",
	  .help = "A line that each connection gets first, before the program's own output.",
	  .offset = offsetof(struct conf_service, exec.greeting) },
	{ .name = "starttls",
	  .type = CONF_T_SPECIAL,
	  .protocols = EXEC,
	  .args = "WORD reply TEXT [case sensitive | insensitive] [arguments]",
	  .unit = "STARTTLS, answered by \"" CONF_EXEC_REPLY "\"",
	  .help = "The client's line that asks for TLS, and the line that it gets before TLS begins. It may have "
		  "blanks in it, as AUTH TLS. With arguments, words may follow it.",
	  .read = conf_read_starttls,
	  .show = conf_show_starttls },
	{ .name = "plaintext",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .protocols = EXEC,
	  .max = CONF_EXEC_PATTERNS_MAX,
	  .args = "PATTERN ...",
	  .unit = "no line",
	  .help = "Lines that a program that was started at once gets before STARTTLS where that is required; all "
		  "others are refused. In a pattern, an asterisk stands for anything, a question mark for one octet.",
	  .read = conf_read_plaintext,
	  .show = conf_show_plaintext },
	{ .name = "capability",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .protocols = EXEC,
	  .max = CONF_EXEC_CAPABILITIES_MAX,
	  .args = "TEXT before | after | append PATTERN [to PATTERN]",
	  .unit = "none",
	  .help = "Tells clients of STARTTLS in the answers of a program that was started at once: the text becomes "
		  "a line before or after a line of the program that matches, or is put at its end. With to, only in the "
		  "answer to a client's line that matches, and once in it.",
	  .read = conf_read_capability,
	  .show = conf_show_capability },
	{ .name = "banner",
	  .type = CONF_T_STRING,
	  .protocols = EXEC,
	  .min = 1,
	  .max = CONF_EXEC_TEXT_MAX,
	  .unit = "none",
	  .args = "PATTERN",
	  .help = "The last line of what the program says unasked when it starts. Up to that line its "
		  "output is left out where a client does not expect it: behind STARTTLS.",
	  .offset = offsetof(struct conf_service, exec.banner) },
	{ .name = "say",
	  .type = CONF_T_SPECIAL,
	  .flags = CONF_F_REPEAT,
	  .protocols = EXEC,
	  .args = "WHEN TEXT",
	  .unit = "see postern-protocols(7)",
	  .help = "The line that the server itself says before-tls, for arguments, injection, unavailable, login, "
		  "away, busy, failed, too-long, errors, certificate, user, idle and shutdown.",
	  .read = conf_read_say,
	  .show = conf_show_say },
	{ .name = "max-programs",
	  .type = CONF_T_NUMBER,
	  .protocols = EXEC,
	  .min = 1,
	  .max = 4096,
	  .def = "256",
	  .args = "NUMBER",
	  .help = "Programs of this service at a time.",
	  .offset = offsetof(struct conf_service, exec.max_programs) },
	{ .name = "max-waiting",
	  .type = CONF_T_NUMBER,
	  .protocols = EXEC,
	  .max = 4096,
	  .def = "64",
	  .args = "NUMBER",
	  .help = "Sessions that may wait for a program when all run; more are refused.",
	  .offset = offsetof(struct conf_service, exec.max_waiting) },
	{ .name = "wait-timeout",
	  .type = CONF_T_DURATION,
	  .protocols = EXEC,
	  .min = 1,
	  .max = 600 * 1000,
	  .def = "10s",
	  .args = "TIME",
	  .help = "How long one waits until it is refused.",
	  .offset = offsetof(struct conf_service, exec.wait_timeout_ms) },
	{ .name = "stop-timeout",
	  .type = CONF_T_DURATION,
	  .protocols = EXEC,
	  .min = 1,
	  .max = 60 * 1000,
	  .def = "5s",
	  .args = "TIME",
	  .help = "How long a program that is told to end (SIGTERM, to its whole process group) may take; "
		  "then it is killed.",
	  .offset = offsetof(struct conf_service, exec.stop_timeout_ms) },
	{ .name = "max-message-size",
	  .type = CONF_T_SIZE,
	  .protocols = MAIL,
	  .min = 64 * 1024,
	  .max = 1024u * 1024 * 1024,
	  .def = "50M",
	  .args = "SIZE",
	  .help = "The largest message that is taken, as the client sends it. A client that says the size beforehand "
		  "is refused before it sends anything.",
	  .offset = offsetof(struct conf_service, mail.max_message_octets) },
	{ .name = "max-recipients",
	  .type = CONF_T_NUMBER,
	  .protocols = MAIL,
	  .min = 1,
	  .max = 1000,
	  .def = "100",
	  .args = "NUMBER",
	  .help = "The recipients of one message. Clients send it again for the others.",
	  .offset = offsetof(struct conf_service, mail.max_recipients) },
	{ .name = "max-errors",
	  .type = CONF_T_NUMBER,
	  .protocols = MAIL,
	  .min = 1,
	  .max = 1000000,
	  .def = "20",
	  .args = "NUMBER",
	  .help = "Commands of one connection that are refused as mistakes; the last one ends it.",
	  .offset = offsetof(struct conf_service, mail.max_errors) },
	{ .name = "max-unknown-recipients",
	  .type = CONF_T_NUMBER,
	  .protocols = MAIL,
	  .min = 1,
	  .max = 1000000,
	  .def = "10",
	  .args = "NUMBER",
	  .help = "Recipients of one connection that do not exist here; the last one ends it.",
	  .offset = offsetof(struct conf_service, mail.max_unknown) },
	{ .name = "max-commands",
	  .type = CONF_T_NUMBER,
	  .protocols = MAIL,
	  .min = 10,
	  .max = 1000000000,
	  .def = "10000",
	  .args = "NUMBER",
	  .help = "Commands between two messages of a connection where nobody is logged in; one more ends it.",
	  .offset = offsetof(struct conf_service, mail.max_commands) },
	{ .name = "message-timeout",
	  .type = CONF_T_DURATION,
	  .protocols = MAIL,
	  .min = 1000,
	  .max = CONF_DAY_MS,
	  .def = "1h",
	  .args = "TIME",
	  .help = "How long a client may take for one message, from DATA or the first BDAT to its last octet; what the server "
		  "takes does not count. With 50M and 1h a client needs 15 KiB a second for the largest one.",
	  .offset = offsetof(struct conf_service, mail.message_timeout_ms) },
	{ .name = "greeting-delay",
	  .type = CONF_T_DURATION,
	  .protocols = 1u << CONF_PROTOCOL_SMTP,
	  .max = 60 * 1000,
	  .def = "0s",
	  .args = "TIME",
	  .help = "How long a new client waits for the greeting in plaintext. Mail servers wait; a client that speaks "
		  "before is sent away.",
	  .offset = offsetof(struct conf_service, mail.greeting_delay_ms) },
};
const struct conf_block conf_schema_service = { "a service block", service, PT_COUNT(service) };

_Static_assert(PT_COUNT(top) <= CONF_DIRECTIVES_MAX && PT_COUNT(tls) <= CONF_DIRECTIVES_MAX &&
		   PT_COUNT(service) <= CONF_DIRECTIVES_MAX,
	       "a scope's bits are one word");

bool
conf_schema_belongs(const struct conf_directive *d, unsigned protocol)
{
	return d->protocols == 0 || (d->protocols & protocol) != 0;
}

int
conf_schema_find(const struct conf_block *block, const char *name)
{
	size_t i;

	for (i = 0; i < block->n; i++)
		if (strcmp(block->directives[i].name, name) == 0)
			return (int)i;
	return -1;
}

const char *
conf_choice_word(const struct conf_choice *c, unsigned value)
{
	while (c->word != NULL && c->value != value)
		c++;
	PT_ASSERT(c->word != NULL);
	return c->word;
}

bool
conf_choice_has(const struct conf_choice *c, const char *word)
{
	while (c->word != NULL && strcmp(c->word, word) != 0)
		c++;
	return c->word != NULL;
}

enum conf_listen_mode
conf_schema_listen_mode(enum conf_protocol protocol)
{
	switch (protocol) {
	case CONF_PROTOCOL_SMTP: /* public senders may lack TLS */
	case CONF_PROTOCOL_LMTP:
		return CONF_LISTEN_STARTTLS;
	case CONF_PROTOCOL_LINE:
	case CONF_PROTOCOL_EXEC:
	case CONF_PROTOCOL_SUBMISSION:
		break;
	}
	return CONF_LISTEN_STARTTLS_REQUIRED;
}
