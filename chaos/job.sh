# A job of a campaign: job.sh NAME CODE SECONDS [GATE]
#
# Lines of the log, in the order things happened:
#   S name attempt pid         it starts
#   O name attempt pid holder  it found another attempt inside: the promise is broken
#   C name attempt             its child has done its part
#   R name attempt             its result is written
#   E name attempt code        it ends
#
# Its result has its name, its attempt, and what it got: its standard input and its secret.
#
# The lock is a symbolic link and not a directory, because making one is as atomic and it names
# its holder: an attempt that was killed leaves its lock behind, and that is not an overlap.
name=$1 code=$2 seconds=$3 gate=$4
cd "$CHAOS_PLACE" || exit 99
attempt=$QUEUECTL_ATTEMPT
if ! ln -s $$ "locks/$name" 2>/dev/null; then
    holder=$(readlink "locks/$name")
    if [ -d /proc/self ]; then # Linux, also where there is no ps
        state=$(sed 's/^.*) //; s/ .*//' "/proc/$holder/stat" 2>/dev/null)
    else
        state=$(ps -o stat= -p "$holder")
    fi
    case $state in
    "" | Z*) ;; # gone, if perhaps not yet buried
    *) echo "O $name $attempt $$ $holder" >>log ;;
    esac
    ln -sfn $$ "locks/$name"
fi
echo "S $name $attempt $$" >>log
(
    sleep "$seconds"
    while [ -n "$gate" ] && ! [ -e "$gate" ]; do sleep 0.05; done
    echo "C $name $attempt" >>log
) &
wait $!
read -r input
echo "50 $name" >"$QUEUECTL_PROGRESS"
echo "$name $attempt ${input:--} ${CHAOS_SECRET:--}" >"$QUEUECTL_RESULT" && echo "R $name $attempt" >>log
rm -f "locks/$name"
echo "E $name $attempt $code" >>log
exit "$code"
