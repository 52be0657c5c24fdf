exec 3<&0 4>&1
feed() {
while read -r a x <&3; do
[ "$a" = write ] || break
if take "$x" <&3 2>/dev/null; then printf '!wrote %s\n' "$x" >&4; else printf '!closed\n' >&4; break; fi
done
}
send() {
while d=$(dd bs=2880 count=1 2>/dev/null | base64) && [ -n "$d" ]; do
printf '!%s\n%s\n' "$1" "$d" | dd obs=8192 2>/dev/null >&4
done
}
feed | {
s=$( { { { (
PATH=$was_path; if [ -n "$was_lc" ]; then LC_ALL=$was_lc; else unset LC_ALL; fi; exec "$@"
) 2>&6 3<&- 5>&- 6>&-; echo $? >&5; } 4>&- 2>/dev/null | send out 5>&- 6>&-; } 6>&1 | send err 5>&-; } 5>&1 )
printf '!exit %s\n' "$s" >&4
exec sleep 300 3<&- 0<&-
}
}
