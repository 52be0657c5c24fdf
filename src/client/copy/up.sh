home x
umask 077
exec 3>/dev/null
r= v=0 g= f=
l='
'
trap '' HUP
unset TAR_OPTIONS
bad() { [ -n "$r" ] || r=$*; }
why() { printf '%s' "${1%%"$l"*}" | cut -c1-300; }
drop() { if [ -n "$f" ]; then rm -f "$f" 2>/dev/null; fi; f=; }
reply() { if [ -n "$r" ]; then printf '!no %s\n' "$r"; else printf '!yes\n'; fi; r=; }
stamp() {
case $2 in -) ;; *) touch -d "@$2" "$1" 2>/dev/null || touch -t "$(date -r "$2" +%Y%m%d%H%M.%S 2>/dev/null)" "$1" 2>/dev/null || bad time ;; esac
}
while read -r a x y z m; do
case $a in
write)
if [ -n "$r" ]; then take "$x" >/dev/null 2>&1
else e=$(take "$x" 2>&1 >&3) || bad write "$(why "$e")"; fi
if [ -n "$r" ]; then printf '!lost %s %s\n' "$x" "$r"; else printf '!wrote %s\n' "$x"; fi ;;
kind)
name "$x"
if [ -d "$n" ]; then k=folder; elif [ -f "$n" ]; then k=file; elif [ -e "$n" ] || [ -L "$n" ]; then k=special; else k=none; fi
printf '!kind %s\n' "$k" ;;
open)
drop; r= v=0; name "$x"; p=$n
if [ -L "$p" ]; then
if t=$(readlink -f "$p" 2>/dev/null && echo x); then p=${t%?x}; else bad open "the link leads to no directory"; fi
fi
t=${p##*/}
if [ ${#t} -gt 250 ]; then q=${p%?????}.part; else q=$p.part; fi
if [ -n "$r" ]; then :
elif [ -d "$p" ]; then bad directory
elif [ -e "$p" ] && [ ! -f "$p" ]; then bad special
elif [ -L "$q" ]; then bad special
elif [ -e "$q" ] && [ ! -f "$q" ]; then bad special
else
if [ "$y" = fresh ]; then rm -f "$q" 2>/dev/null; fi
if e=$( (: >>"$q") 2>&1); then exec 3<>"$q"; facts "$q"; v=${s%% *}; if [ "$y" = fresh ]; then f=$q; fi
else bad open "$(why "$e")"; fi
fi
if [ -n "$r" ]; then printf '!no %s\n' "$r"; else printf '!size %s\n' "$v"; fi ;;
blocks) if [ -z "$r" ]; then blocks "$q" "$x"; fi; printf '!done\n' ;;
seek)
if [ -z "$r" ]; then exec 3<>"$q"; e=$(dd bs=65536 seek="$x" count=0 conv=notrunc 2>&1 >&3 </dev/null) || bad write "$(why "$e")"; fi ;;
cut)
if [ -z "$r" ]; then e=$(dd bs=1 seek="$x" count=0 of="$q" 2>&1 </dev/null) || bad write "$(why "$e")"; fi ;;
close)
exec 3>/dev/null
if [ -z "$r" ]; then
h=; digest <"$q"
if [ "$h" = "cksum $x" ] || [ "$h" = "sha256 $x" ]; then
if [ "$y" = - ]; then y=$m; if [ -e "$p" ]; then facts "$p"; y=${s#* }; y=${y%% *}; fi; fi
if [ "$y" != - ]; then chmod "$y" "$q" 2>/dev/null || bad mode; fi
stamp "$q" "$z"
e=$(mv -f "$q" "$p" 2>&1) || bad rename "$(why "$e")"
else bad hash "$h"; fi
elif [ -f "$q" ] && [ ! -L "$q" ] && [ ! -s "$q" ]; then rm -f "$q" 2>/dev/null
fi
drop; reply ;;
folder)
r=; name "$x"
if [ ! -d "$n" ]; then e=$(mkdir -m "$y" "$n" 2>&1) || bad folder "$(why "$e")"; fi
reply ;;
mode)
r=; name "$x"
if [ "$y" != - ]; then chmod "$y" "$n" 2>/dev/null || bad mode; fi
stamp "$n" "$z"
reply ;;
link)
r=; name "$x"; p=$n; name "$y"
if [ -L "$p" ] || [ -f "$p" ]; then rm -f "$p" 2>/dev/null; fi
e=$(ln -s "$n" "$p" 2>&1) || bad link "$(why "$e")"
reply ;;
packs)
if command -v tar >/dev/null 2>&1 && command -v base64 >/dev/null 2>&1 && stat -c '%a %d' . >/dev/null 2>&1
then printf '!packs yes\n'; else printf '!packs no\n'; fi ;;
unpack)
g=$q.d
if [ -z "$r" ]; then
exec 3>/dev/null
h=; digest <"$q"
if [ "$h" = "cksum $x" ] || [ "$h" = "sha256 $x" ]; then
case $y in keep) z=xpof ;; *) z=xpmof ;; esac
rm -rf "$g" 2>/dev/null
e=$( ( mkdir -m 700 "$g" && cd "$g" && tar "$z" - ) 2>&1 <"$q") || bad unpack "$(why "$e")"
else bad hash "$h"; fi
fi
drop; reply ;;
into)
name "$y"; p=$n i=0; set --
if [ "$(stat -L -c %d "$p" 2>/dev/null)" = "$(stat -c %d "$g" 2>/dev/null)" ]; then
for f in "$g/$x"/* "$g/$x"/.[!.]* "$g/$x"/..?*; do
if [ ! -f "$f" ]; then continue; fi
i=$((i+1)) d=$p/${f##*/}
if [ -L "$d" ]; then continue; fi
if [ -e "$d" ]; then
if [ ! -f "$d" ]; then continue; fi
if [ "$z" != keep ]; then k=$(stat -c %a "$d" 2>/dev/null) && chmod "$k" "$f" 2>/dev/null; fi
fi
set -- "$@" "$f"
done
if [ $# -gt 0 ]; then mv -f "$@" "$p/" 2>/dev/null; fi
fi
for f in "$g/$x"/* "$g/$x"/.[!.]* "$g/$x"/..?*; do
if [ -f "$f" ]; then i=$((i-1)); shown "${f##*/}"; printf '!left %s\n' "$n"; fi
done
printf '!moved %s\n' "$i" ;;
unpacked) rm -rf "$g" 2>/dev/null; g=; printf '!yes\n' ;;
esac
done
drop
if [ -n "$g" ]; then rm -rf "$g" 2>/dev/null; fi
}
