/* proto/exec/exec_reply.c - see exec_reply.h. */
#include "proto/exec/exec_reply.h"

#include <string.h>

/* Why nobody is logged in, and what to do about it, by the verdict on the certificate. */
static const struct {
	const char *verdict, *text;
} reasons[] = {
	{ "none", "a client certificate is needed, and none was sent" },
	{ "trusted", "this certificate belongs to no user here" },
	{ "unmapped", "this certificate belongs to no user here" },
	{ "expired", "the client certificate has expired" },
	{ "not-yet-valid", "the client certificate is not yet valid; is your clock right?" },
	{ "revoked", "the client certificate was revoked" },
	{ "unknown-ca", "the client certificate is by a CA that is not trusted here" },
	{ "wrong-purpose", "the certificate is not one for clients" },
	{ "bad-signature", "the client certificate is damaged: a signature of its chain is wrong" },
	{ "crl-stale", "the client certificate cannot be checked: the revocation list is too old" },
};

static const char *
login_reason(const struct engine_peer *peer)
{
	size_t i;

	for (i = 0; peer->verdict != NULL && i < PT_COUNT(reasons); i++)
		if (strcmp(peer->verdict, reasons[i].verdict) == 0)
			return reasons[i].text;
	return "a client certificate is needed, and this service does not ask for one";
}

int
exec_reply_line(struct buf *out, const char *text)
{
	return buf_printf(out, "%s\r\n", text);
}

int
exec_reply_say(struct buf *out, const struct exec_conf *conf, enum exec_text t, const struct engine_peer *peer)
{
	static const char *const defaults[EXEC_TEXT_COUNT] = {
#define EXEC_TEXT_DEFAULT(name, word, text) [EXEC_TX_##name] = (text),
		EXEC_TEXTS(EXEC_TEXT_DEFAULT)
#undef EXEC_TEXT_DEFAULT
	};
	const char *text, *arg = t == EXEC_TX_LOGIN ? login_reason(peer) : conf->keyword;
	int rc;

	if (conf->says[t] != NULL)
		return exec_reply_line(out, conf->says[t]);
	if ((text = defaults[t]) == NULL)
		return 0;
	for (rc = 0; rc == 0 && *text != '\0'; text++)
		if (text[0] == '%' && text[1] == 's') {
			rc = buf_append_str(out, arg);
			text++;
		} else {
			rc = buf_append(out, text, 1);
		}
	return rc != 0 ? rc : buf_append_str(out, "\r\n");
}

const char *
exec_reply_refusal(enum engine_bye why)
{
	static const char *const texts[ENGINE_BYE_COUNT] = {
		[ENGINE_BYE_SHUTDOWN] = "ERR the server stops\r\n",
		[ENGINE_BYE_LIMIT_TOTAL] = "ERR too many connections, try again later\r\n",
		[ENGINE_BYE_CERTIFICATE] = "ERR the certificate is not trusted any more\r\n",
		[ENGINE_BYE_USER] = "ERR the user is none any more\r\n",
		[ENGINE_BYE_PASSWORD] = "ERR the password was changed\r\n",
		[ENGINE_BYE_LIMIT_ADDRESS] = "ERR too many connections from your address\r\n",
	};

	PT_ASSERT((unsigned)why < ENGINE_BYE_COUNT);
	return texts[why];
}
