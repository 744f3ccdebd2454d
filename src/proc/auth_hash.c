/* proc/auth_hash.c - postern-auth -H: the stored forms of a password, for "postern user". It is here and not in the
 * command so that the hashing libraries are in one program, and both sides cannot disagree. Runs as who calls it. */
#include "proc/auth.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Everything up to the end of file: at most cap - 1 octets and no NUL. */
static int
read_password(char *out, size_t cap)
{
	size_t n = 0;
	ssize_t k;

	while ((k = read(STDIN_FILENO, out + n, cap - n)) != 0) {
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return PT_EIO;
		if ((n += (size_t)k) == cap)
			return PT_EINVAL;
	}
	out[n] = '\0';
	return strlen(out) == n ? 0 : PT_EINVAL;
}

int
auth_hash_main(void)
{
	char password[VERIFY_PASSWORD_MAX + 2], field[VERIFY_FIELD_MAX];
	int rc;

	if ((rc = read_password(password, sizeof password)) == 0)
		rc = verify_make(password, field);
	explicit_bzero(password, sizeof password);
	if (rc == 0 && (puts(field) < 0 || fflush(stdout) != 0))
		rc = PT_EIO;
	explicit_bzero(field, sizeof field);
	return rc == 0 ? 0 : rc == PT_EINVAL ? 65 : 71;
}
