package script

// transfers open the URLs, or talk to the hosts, that they are given.
var transfers = map[string]*program{
	"curl": {
		values: "-o --output -H --header -A --user-agent -e --referer -x --proxy -u --user -d --data --data-raw " +
			"--data-binary --data-urlencode -F --form -b --cookie -c --cookie-jar -m --max-time --connect-timeout " +
			"--retry --retry-delay --retry-max-time -w --write-out -X --request -T --upload-file -E --cert --key " +
			"--cacert --capath -K --config -r --range -C --continue-at -y -Y -z --limit-rate --interface --proto " +
			"--proto-redir --proto-default --ciphers --tls-max -D --dump-header --output-dir --noproxy --stderr " +
			"--max-redirs --rate -t -Q -P --max-filesize --oauth2-bearer --json --trace --trace-ascii --netrc-file " +
			"--etag-save --etag-compare --keepalive-time --speed-limit --speed-time",
		source: "--url", quiet: "-h -V -M --manual --unix-socket --abstract-unix-socket --connect-to --resolve",
		urls: "*", named: "*", local: notHost, closed: "*", direct: "-",
	},
	"wget wget2": {
		values: "-O --output-document -o --output-file -a --append-output -e --execute -t --tries -T --timeout -w --wait " +
			"-P --directory-prefix -U --user-agent --header --user --password --post-data --post-file --method " +
			"--body-data --limit-rate --ca-certificate --ca-directory --certificate --private-key --load-cookies " +
			"--save-cookies --referer -Q --quota -A -R -D -I -X -l --level --cut-dirs -i --input-file -B --base " +
			"--dns-timeout --connect-timeout --read-timeout --waitretry --secure-protocol --retry-on-http-error",
		quiet: "-h -V", urls: "*", named: "*", local: notHost, closed: "*", direct: "-",
	},
	"aria2c axel lynx links w3m http https xh lftp GET": {
		values: "-o -d -x -s -j -k -n -H -a --out --dir --output", quiet: "-h -v -V", urls: "*", closed: "*",
	},
	"git": {
		values: "-C -c -b --branch --depth -o --origin -u --upload-pack --reference --separate-git-dir --filter -j " +
			"--jobs --template --shallow-since --server-option --config --git-dir --work-tree -m --message --author",
		quiet: "-h", urls: "clone,fetch,pull,push,ls-remote,submodule add,lfs clone,archive", veto: gitVeto, local: nothingLocal, url: isGitRemote,
		either: "fetch,pull", // of a remote that the script has added; see gitVeto
	},
	"svn":             {values: "-r --revision --username --password --depth", urls: "checkout,co,export,list,ls,info,cat,switch"},
	"hg bzr":          {values: "-r -u -b", urls: "clone,pull,branch,export"},
	"rpm":             {values: "--root --dbpath --define -D --queryformat --qf --prefix", urls: "*", closed: "*"},
	"scp rsync sftp":  {values: "-e -i -P -F -o -l -S -c --rsh --exclude --include --filter --exclude-from", urls: "*", named: "*", local: notHostPath},
	"ssh ssh-keyscan": {values: "-p -i -o -l -F -L -R -D -J -b -c -e -m -S -W -w -E -I -O -B -t -T -f", quiet: "-V -h -Q -G", named: "*", local: isLoopbackHost},
	"gpg gpg2": {
		values: "--keyserver --homedir --keyring --keyserver-options -o --output -r -u --batch-file --trustdb-name",
		flags:  "--recv-keys --recv-key --recv --receive-keys --search-keys --refresh-keys --fetch-keys --locate-external-keys",
		veto:   loopbackOption("--keyserver"), closed: "*",
	},
	"apt-key": {
		values: "--keyserver --keyring --keyserver-options", flags: "--recv-keys --recv-key --recv --refresh-keys --fetch-keys",
		veto: loopbackOption("--keyserver"), closed: "*",
	},
	"aws":    {values: "--region --profile --endpoint-url --output --acl --exclude --include", urls: "s3 cp,s3 sync,s3 ls,s3 mv", veto: hasOption("--endpoint-url")},
	"gsutil": {values: "-o -h", urls: "cp,rsync,ls,mv,cat"},
	"gcloud": {values: "--project", always: "components update", named: "components install"},
	"gh":     {values: "-R --repo -p --pattern -D --dir -O --output", always: "release download,api", named: "repo clone"},
	"skopeo": {values: "--authfile --override-arch --override-os --src-creds --dest-creds", urls: "copy,inspect,sync,list-tags"},
	"crane":  {values: "--platform", named: "pull,digest,manifest,export,copy,cp,ls,config,blob"},
	"oras":   {values: "-o --output -u --username -p --password --platform", named: "pull,copy,cp,discover,manifest fetch,blob fetch", local: nothingLocal},
	"cosign": {
		values: "--key --certificate-identity --certificate-oidc-issuer --certificate-identity-regexp --output-file -o",
		named:  "verify,verify-attestation,download", local: nothingLocal,
	},
	"docker podman nerdctl": {values: "--platform", named: "pull", local: nothingLocal},
	"helm": {
		values: "--version -d --destination --username --password --repo -n --namespace", always: "repo update",
		urls: "repo add,pull,plugin install,install,upgrade,template",
	},
	"hf huggingface-cli": {values: "--local-dir --revision --cache-dir --token --include --exclude --repo-type", named: "download", env: "HF_HUB_OFFLINE", wary: "-"},
	"spacy":              {named: "download"},
	"nltk.downloader":    {values: "-d -u", named: "*"},
	"playwright":         {always: "install,install-deps"},
	"cypress":            {always: "install", env: "CYPRESS_INSTALL_BINARY"},
	"freshclam":          {values: "--config-file --datadir -u", quiet: "-h -V", always: "*,-"},
}

// systems install packages of a distribution.
var systems = map[string]*program{
	"apt-get apt aptitude xx-apt-get xx-apt": {
		values: "-o --option -c --config-file -t --target-release --default-release -a --host-architecture",
		quiet:  "-s --simulate --just-print --recon --no-act --no-download --print-uris -h -v -c --config-file",
		always: "update", named: "install,reinstall,source,download,build-dep,satisfy",
		local: suffixed(".deb"), veto: aptVeto, closed: "*",
	},
	"apk xx-apk": {
		values: "-t --virtual -X --repository -p --root --repositories-file --keys-dir --arch --cache-dir --wait --progress-fd",
		quiet:  "--no-network -s --simulate -h -V --repositories-file",
		always: "update", named: "add,fetch", local: suffixed(".apk"), veto: apkVeto, closed: "*",
	},
	"dnf dnf5 dnf4 yum microdnf tdnf": {
		kind: "rpm", wary: "-",
		values: "-c --config -x --exclude --enablerepo --disablerepo --repo --repoid --setopt --installroot --releasever " +
			"--repofrompath -d --debuglevel -e --errorlevel --forcearch --advisory --downloaddir --destdir --disableexcludes --from-repofile",
		quiet:  "-C --cacheonly --offline --assumeno -h -c --config --repofrompath",
		source: "--add-repo --from-repofile",
		always: "update,upgrade,makecache,check-update,distro-sync,dist-upgrade,upgrade-minimal,update-minimal",
		named: "install,reinstall,localinstall,groupinstall,download,swap,builddep,group install,module install," +
			"module enable,copr enable,install-n,update-to,downgrade",
		local: suffixed(".rpm"), veto: dnfVeto, closed: "*",
	},
	"zypper": {
		kind: "rpm", wary: "-",
		values: "-R --root --installroot -p --plus-repo -t --type -r --repo --from --plus-content -C --cache-dir -D --reposd-dir",
		quiet:  "--no-refresh --no-remote -D --reposd-dir -h",
		always: "refresh,ref,update,up,patch,dist-upgrade,dup", named: "install,in,source-install,si,download",
		local: suffixed(".rpm"), closed: "*",
	},
	"yumdownloader":        {kind: "rpm", wary: "-", values: "--destdir --enablerepo --disablerepo", named: "*", local: suffixed(".rpm"), veto: dnfVeto, closed: "*"},
	"yum-config-manager":   {source: "--add-repo", values: "--setopt", veto: dnfVeto, closed: "*"},
	"subscription-manager": {values: "--org --activationkey --username --password", always: "register,attach,refresh,subscribe"},
	"debootstrap":          {values: "--variant --include --exclude --arch --keyring --components", quiet: "--second-stage --unpack-tarball --print-debs", named: "*", local: isLocalSuite},
	"add-apt-repository":   {values: "-p -s -k", quiet: "-r --remove -h", named: "*", local: notPrefixed("ppa:")},
	"pacman": {
		values: "-r --root -b --dbpath --config --cachedir", flags: "-S --sync",
		quiet: "-c --clean -p --print -Q -R -U -F -T -h -V --config", veto: pacmanVeto, closed: "*",
	},
	"emerge":                 {flags: "--sync", quiet: "-p --pretend -f -C --unmerge -K --usepkgonly"},
	"opkg":                   {values: "-d -o -f", always: "update", named: "install", closed: "*"},
	"xbps-install":           {values: "-R --repository -r", flags: "-S --sync", quiet: "-n", closed: "*"},
	"brew":                   {always: "update,upgrade", named: "install,tap", env: "HOMEBREW_NO_NETWORK"},
	"snap flatpak":           {named: "install"},
	"tlmgr":                  {values: "--repository --repo -repository", always: "update", named: "install", long: "-", veto: localOption("--repository", "-repository", "--repo")},
	"nix-env":                {flags: "-i --install -iA", quiet: "-f --file --option -q", long: "-"},
	"nix-channel":            {flags: "--update"},
	"nix":                    {always: "flake update", named: "profile install,profile add", quiet: "--offline", long: "-"},
	"install-php-extensions": {named: "*"},
	"conda mamba micromamba": {
		wary:   "-",
		values: "-n --name -p --prefix -c --channel --solver --revision --repodata-fn -r --root-prefix --platform",
		lists:  "-f --file --all", quiet: "--offline --clone -h -V",
		always: "env create,env update", named: "install,create,update,upgrade",
		env: "CONDA_OFFLINE", local: suffixed(".conda", ".tar.bz2"), veto: localOption("-c", "--channel"),
	},
}
