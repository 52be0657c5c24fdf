stty raw -echo 2>/dev/null || fail tool stty
if [ "$(printf ab | dd bs=2 count=1 iflag=fullblock 2>/dev/null)" = ab ]
then take() { dd bs="$1" count=1 iflag=fullblock; }
else take() { dd bs=1 count="$1"; }
fi
h=; digest </dev/null
printf '!ready %s\n' "${h%% *}"
dd bs=65536 2>/dev/null | {
while read -r a x; do [ "$a" != begin ] || break; done
