need dd base64
name "$p"; home "$n"; p=$n
[ -d "$p" ] || fail missing
cd "$p" 2>/dev/null || fail denied
unset TAR_OPTIONS; COPYFILE_DISABLE=1; export COPYFILE_DISABLE
c=0 u=0 g=0 w= k=
t=no
if [ "$v" -eq 0 ] && command -v tar >/dev/null 2>&1 && stat -L -c %s . >/dev/null 2>&1; then
t=yes; h=; digest </dev/null; l=${h%% *}
fi
if [ "$v" -eq 0 ]; then v=20000; fi
more() { pack; printf '!more %s\n!end\n' "$c"; stay; }
quoted() {
a=$1 e=
while :; do
case $a in *\'*) e="$e${a%%\'*}'\\''"; a=${a#*\'} ;; *) break ;; esac
done
e="'$e$a'"
}
archive() {
eval "set -- $y"; y= b=0
if [ $# -eq 0 ]; then return; fi
printf '!tar %s\n' "$l"
tar cf - "$@" 2>/dev/null | base64; echo
h=$( { { tar cf - "$@" 2>/dev/null || printf '!' >&5; } | { digest; printf '%s' "$h" >&5; }; } 5>&1 )
case $h in '!'*) printf '!torn\n' ;; *) printf '!hash %s\n' "$h" ;; esac
}
pack() {
if [ "$g" -eq 0 ]; then return; fi
eval "set -- $w"
s= j=0
if [ $# -gt 0 ]; then s=$(stat -L -c %s "$@" 2>/dev/null); fi
for z in $s; do j=$((j+1)); done
if [ "$j" -ne $# ]; then
j=
for x do facts "$x"; z=${s%% *}; j="$j ${z:-0}"; done
s=$j
fi
y= b=0
for z in $s; do
x=$1; shift
if [ "$z" -gt 1048576 ]; then facts "$x"; shown "${x#./}"; printf '!file %s %s\n' "$s" "$n"
else
u=$((u+z)) b=$((b+z)); quoted "$x"; y="$y $e"
if [ "$b" -ge 8388608 ]; then archive; fi
fi
done
y="$y $k"; archive
printf '!batch %s\n' "$c"
g=0 w= k=
}
entry() {
if [ "$u" -ge 41943040 ] || [ "$c" -ge "$((q+v))" ]; then more; fi
if [ "$g" -ge 400 ] || [ "${#w}" -ge 49152 ] || [ "${#k}" -ge 16384 ]; then pack; fi
c=$((c+1))
if [ "$c" -le "$q" ]; then return; fi
if [ "$t" = yes ]; then g=$((g+1)); fi
if [ -L "$1" ]; then
if [ "$t" = yes ]; then quoted "$1"; k="$k $e"; return; fi
shown "${1#./}"; m=$n
d=$(readlink "$1"; echo x); d=${d%?x}; shown "$d"; printf '!link %s %s\n' "$m" "$n"
elif [ -d "$1" ]; then
shown "${1#./}"; facts "$1"; printf '!folder %s %s\n' "$s" "$n"
if [ ! -r "$1" ] || [ ! -x "$1" ]; then printf '!shut %s\n' "$n"; fi
elif [ -f "$1" ]; then
if [ ! -r "$1" ]; then shown "${1#./}"; printf '!denied %s\n' "$n"; return; fi
if [ "$t" = yes ]; then quoted "$1"; w="$w $e"; return; fi
shown "${1#./}"; facts "$1"; printf '!file %s %s\n' "$s" "$n"
z=${s%% *}
if [ "$z" -le 1048576 ]; then
u=$((u+z))
if [ "$z" -gt 0 ]; then dd if="$1" bs=65536 count=16 2>/dev/null | base64; echo; fi
whole "$1" "$z"
fi
else shown "${1#./}"; printf '!special %s\n' "$n"; fi
}
walk() {
for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if [ ! -e "$f" ] && [ ! -L "$f" ]; then continue; fi
entry "$f"
if [ -d "$f" ] && [ ! -L "$f" ]; then walk "$f"; fi
done
}
if [ "$t" = yes ]; then printf '!packs\n'; fi
facts .; printf '!folder %s =.\n' "$s"
walk .
pack
printf '!end\n'
stay
