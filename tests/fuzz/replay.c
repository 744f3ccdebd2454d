/* fuzz/replay.c - feeds files to a fuzz target, so that each corpus is a plain test.
 *
 * Linked with one target instead of a fuzzing engine: every file named on the command line, and
 * every file of every folder named (default: the target's own corpus, CORPUS), goes through the
 * entry function once. It passes when the target survives them all and there was at least one. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define REPLAY_FILE_MAX (4 * 1024 * 1024) /* octets; what a target is fed at most */
#define REPLAY_PATH_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_file(const char *path, unsigned *fed)
{
	uint8_t *data = NULL;
	FILE *f = NULL;
	int rc = 1;
	size_t n;

	if ((f = fopen(path, "rb")) == NULL || (data = malloc(REPLAY_FILE_MAX)) == NULL)
		goto out;
	n = fread(data, 1, REPLAY_FILE_MAX, f);
	if (ferror(f) || fgetc(f) != EOF)
		goto out;
	/* an exact copy, so that a sanitizer sees the first octet read behind the end */
	if (n > 0) {
		uint8_t *exact = malloc(n);

		if (exact == NULL)
			goto out;
		memcpy(exact, data, n);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	} else {
		LLVMFuzzerTestOneInput(data, 0);
	}
	++*fed;
	rc = 0;
out:
	if (rc != 0)
		fprintf(stderr, "replay: cannot feed %s\n", path);
	free(data);
	if (f != NULL)
		fclose(f);
	return rc;
}

static int
replay_path(const char *path, unsigned *fed)
{
	char file[REPLAY_PATH_MAX];
	struct dirent **names;
	struct stat st;
	int i, n, rc = 0;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return replay_file(path, fed);
	if ((n = scandir(path, &names, NULL, alphasort)) < 0)
		return 1;
	for (i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
			if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
				rc |= replay_file(file, fed);
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

int
main(int argc, char **argv)
{
	unsigned fed = 0;
	int i, rc = 0;

	if (argc < 2)
		rc = replay_path(CORPUS, &fed);
	for (i = 1; i < argc; i++)
		rc |= replay_path(argv[i], &fed);
	printf("%u inputs\n", fed);
	return rc != 0 || fed == 0;
}
