#!/bin/sh
# check-pure.sh [LIBRARY] - the protocol engines do no I/O and have no clock: what libpt_proto.a wants
# from others holds no call that would let them. Names are compared without what a C library puts
# around them (__read_chk, open64).
lib=${1:-${top_builddir:-..}/src/libpt_proto.a}

forbidden='gnutls_[a-z0-9_]*|event_[a-z0-9_]*|bufferevent_[a-z0-9_]*|send[a-z]*|recv[a-z]*|open[a-z]*'
forbidden="$forbidden|fopen|fdopen|creat|read|readv|pread|write|writev|pwrite|socket|connect|accept4?"
forbidden="$forbidden|poll|select|clock_gettime|clock_nanosleep|time|gettimeofday|sleep|usleep|nanosleep"
forbidden="$forbidden|fork|exec[a-z]*|getenv"

# "object: call" for each such call in nm's output
calls() {
	awk -v forbidden="^($forbidden)\$" '
		/:$/ { object = substr($0, 1, length($0) - 1) }
		$1 == "U" {
			name = $2
			sub(/@.*/, "", name); sub(/^__/, "", name)
			sub(/(_chk|64|64_2|_2)$/, "", name)
			if (name ~ forbidden)
				print object ": calls " $2
		}'
}

# the check itself: it sees what it must see, and no more
for name in read write open openat64 __read_chk __open64_2 recvmsg sendto clock_gettime time \
	gettimeofday socket event_add gnutls_init fopen64; do
	[ -n "$(printf 'x.o:\n                 U %s\n' "$name" | calls)" ] || {
		echo "check-pure.sh: does not see $name"
		exit 1
	}
done
for name in memchr line_string_read line_reply_text buf_append log_msg realloc timegm; do
	[ -z "$(printf 'x.o:\n                 U %s\n' "$name" | calls)" ] || {
		echo "check-pure.sh: takes $name for a call that it is not"
		exit 1
	}
done

wanted=$(LC_ALL=C nm -u "$lib") || exit 1
case $wanted in
*buf_append*) ;;
*) echo "check-pure.sh: $lib: nm shows nothing"; exit 1 ;;
esac
found=$(printf '%s\n' "$wanted" | calls)
[ -z "$found" ] && exit 0
printf '%s\n' "$found"
echo "check-pure.sh: $lib: an engine gets octets and the time from its caller (src/proto/engine.h)"
exit 1
