# fish completion for appfwctl

set -l commands guard unguard fence unfence grant revoke explain who list types \
    domains rules status baseline bridge observed denied pending answer watch blocked unblock \
    confirm plan apply export up down

function __appfwctl_domains
    ps -eo label= 2>/dev/null | cut -d: -f3 | sort -u
end

# Whether a command was typed, and one of its modes.
function __appfwctl_mode
    __fish_seen_subcommand_from $argv[1]; and __fish_seen_subcommand_from $argv[2..-1]
end

complete -c appfwctl -f
complete -c appfwctl -l json -d 'Print JSON'
complete -c appfwctl -l help -d 'Show help'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -l version -d 'Print the version'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a guard -d 'Close a destination to all but those granted'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a unguard -d 'Take a guard away'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a fence -d 'Shut a domain in, but for what it is granted'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a unfence -d 'Take a fence away'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a grant -d 'Open a destination to a domain'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a revoke -d 'Take a grant away'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a explain -d 'Whether a domain reaches a destination'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a who -d 'Every domain that reaches a destination'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a list -d 'Grants, guards and fences'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a types -d 'What a domain may do with labelled packets'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a domains -d 'What runs, and where it is connected'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a rules -d 'Labels, maps and counters'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a status -d 'Whether appfwd is in force'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a baseline -d 'Label every port as the policy says'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a bridge -d 'Packets without a label'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a observed -d 'Unlabelled traffic that was seen'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a denied -d 'What was refused, and why'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a pending -d 'What is asked about refused access'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a answer -d 'Answer what is asked'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a watch -d 'What is refused, as it happens, and questions'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a blocked -d 'What nobody is asked about again'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a unblock -d 'Have a place asked about again'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a confirm -d 'Make changes made with --for permanent'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a plan -d 'What another command would change'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a apply -d 'Make everything as a document says'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a export -d 'Print the document of what is so now'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a up -d 'Bring everything into force'
complete -c appfwctl -n "not __fish_seen_subcommand_from $commands" -a down -d 'Take everything away'
complete -c appfwctl -n '__fish_seen_subcommand_from guard unguard grant revoke explain who unblock' -l in -d Inbound
complete -c appfwctl -n '__fish_seen_subcommand_from guard fence' -l for -x -a '60s 5m 1h' -d 'Go back after this time'
complete -c appfwctl -n '__fish_seen_subcommand_from guard fence' -l yes -d 'Do not ask'
complete -c appfwctl -n '__fish_seen_subcommand_from fence' -l no-loopback -d 'Not even to itself'
complete -c appfwctl -n '__fish_seen_subcommand_from fence' -l no-dns -d 'Not even to name servers'
complete -c appfwctl -n '__fish_seen_subcommand_from grant answer' -l for -x -a '10m 1h 7d' -d 'End after this time'
complete -c appfwctl -n '__fish_seen_subcommand_from grant answer' -l until -x -d 'End at this time'
complete -c appfwctl -n '__fish_seen_subcommand_from grant revoke explain' -l app -d 'The domain that a program starts in'
complete -c appfwctl -n '__fish_seen_subcommand_from grant' -l yes -d 'Do not ask'
complete -c appfwctl -n '__fish_seen_subcommand_from grant answer' -l session -d 'End with your login session'
complete -c appfwctl -n '__fish_seen_subcommand_from grant answer' -l boot -d 'End with this boot'
complete -c appfwctl -n '__fish_seen_subcommand_from fence unfence grant revoke explain types unblock' -a '(__appfwctl_domains)'
complete -c appfwctl -n '__fish_seen_subcommand_from baseline' -a 'on off show'
complete -c appfwctl -n '__appfwctl_mode baseline on off' -l for -x -a '60s 5m 1h' -d 'Go back after this time'
complete -c appfwctl -n '__appfwctl_mode baseline on off' -l yes -d 'Do not ask'
complete -c appfwctl -n '__fish_seen_subcommand_from bridge' -a 'open observe close'
complete -c appfwctl -n '__appfwctl_mode bridge open observe close' -l for -x -a '60s 5m 1h' -d 'Go back after this time'
complete -c appfwctl -n '__appfwctl_mode bridge close' -l strict -d 'Check even what nothing labels'
complete -c appfwctl -n '__appfwctl_mode bridge close' -l yes -d 'Do not ask'
complete -c appfwctl -n '__fish_seen_subcommand_from observed' -l with-baseline -d 'As it would be with the baseline on'
complete -c appfwctl -n '__fish_seen_subcommand_from observed' -l accept -d 'Grant what would be lost'
complete -c appfwctl -n '__fish_seen_subcommand_from observed denied' -l forget -d 'Forget all of it'
complete -c appfwctl -n '__fish_seen_subcommand_from list' -l kind -x -a 'grant guard fence'
complete -c appfwctl -n '__fish_seen_subcommand_from list domains observed denied pending blocked' -l domain -x -a '(__appfwctl_domains)'
complete -c appfwctl -n '__fish_seen_subcommand_from plan; and not __fish_seen_subcommand_from guard unguard fence unfence grant revoke baseline bridge apply up down' -a 'guard unguard fence unfence grant revoke baseline bridge apply up down'
complete -c appfwctl -n '__fish_seen_subcommand_from answer' -l scope -x -a 'place host port network domain' -d 'More than the place'
complete -c appfwctl -n '__fish_seen_subcommand_from answer' -a 'allow block'
complete -c appfwctl -n '__fish_seen_subcommand_from apply' -l check -d 'Only tell whether it is in force'
complete -c appfwctl -n '__fish_seen_subcommand_from apply' -l syntax -d 'Only see whether it is a document'
complete -c appfwctl -n '__fish_seen_subcommand_from apply' -l yes -d 'Do not ask'
complete -c appfwctl -n '__fish_seen_subcommand_from apply' -F
complete -c appfwctl -n '__fish_seen_subcommand_from down' -l yes -d 'Do not ask'
