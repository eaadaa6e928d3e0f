"""The words of the simulated world: categories, logins, titles, tags and languages."""

from __future__ import annotations

from itertools import product

CATEGORIES = 20_000
HIGHEST_GAME_ID = 2_147_452_902

KNOWN_CATEGORIES = (
    (509658, "Just Chatting"),
    (32982, "Grand Theft Auto V"),
    (21779, "League of Legends"),
    (516575, "VALORANT"),
    (32399, "Counter-Strike"),
    (29595, "Dota 2"),
    (33214, "Fortnite"),
    (27471, "Minecraft"),
    (511224, "Apex Legends"),
    (18122, "World of Warcraft"),
    (498566, "Slots"),
    (509663, "Special Events"),
    (518203, "Sports"),
    (491931, "Escape from Tarkov"),
    (29452, "Virtual Casino"),
    (263490, "Rust"),
    (491487, "Dead by Daylight"),
    (30921, "Rocket League"),
    (513143, "Teamfight Tactics"),
    (515025, "Overwatch 2"),
    (138585, "Hearthstone"),
    (743, "Chess"),
    (29307, "Path of Exile"),
    (512953, "ELDEN RING"),
    (27284, "Retro"),
    (26936, "Music"),
    (509660, "Art"),
    (509659, "ASMR"),
    (417752, "Talk Shows & Podcasts"),
    (116747788, "Pools, Hot Tubs, and Beaches"),
    (272263131, "Animals, Aquariums, and Zoos"),
    (509672, "Travel & Outdoors"),
    (509667, "Food & Drink"),
    (509670, "Science & Technology"),
    (1469308723, "Software and Game Development"),
    (509671, "Fitness & Health"),
    (509673, "Makers & Crafting"),
    (515214, "Politics"),
)

_GAME_FIRST = (
    "Ancient", "Broken", "Crimson", "Dark", "Dawn of", "Deep", "Dragon", "Echoes of", "Emerald",
    "Eternal", "Fallen", "Final", "Forgotten", "Frozen", "Galactic", "Golden", "Hollow", "Hyper",
    "Infinite", "Iron", "Last", "Legends of", "Lost", "Lunar", "Mystic", "Neon", "Night of", "Pixel",
    "Project", "Rise of", "Savage", "Shadow", "Silent", "Sky", "Solar", "Star", "Steel", "Storm",
    "Super", "Tales of", "Tiny", "Turbo", "Ultra", "Vampire", "War of", "Wild",
)  # fmt: skip
_GAME_SECOND = (
    "Abyss", "Arena", "Ashes", "Athletics", "Bastion", "Blades", "Castle", "Chronicle", "Citadel",
    "City", "Colony", "Crown", "Crusade", "Depths", "Dominion", "Drift", "Dungeon", "Dynasty", "Empire",
    "Exile", "Fantasy", "Farm", "Forest", "Frontier", "Gardens", "Harvest", "Heroes", "Horizon",
    "Hunters", "Island", "Kart", "Kingdom", "Knights", "Labyrinth", "Legacy", "Machines", "Monsters",
    "Mountain", "Odyssey", "Outpost", "Pinball", "Pirates", "Planet", "Quest", "Racer", "Raiders",
    "Realm", "Rebellion", "Requiem", "Ruins", "Saga", "Siege", "Souls", "Survivors", "Tactics", "Tower",
    "Tycoon", "Valley", "Warriors", "Wizards",
)  # fmt: skip
_GAME_EDITION = ("", " II", " III", ": Remastered", " Online", ": Origins", " 2077", " VR")

LOGIN_FIRST = (
    "ancient", "angry", "arctic", "blue", "brave", "calm", "captain", "chilly", "cosmic", "cozy",
    "crazy", "dizzy", "dusty", "electric", "epic", "fancy", "fluffy", "frosty", "funky", "fuzzy",
    "gentle", "giant", "golden", "grumpy", "happy", "hungry", "icy", "jolly", "just", "kind", "lazy",
    "little", "lord", "lucky", "lunar", "magic", "mega", "mighty", "misty", "noble", "odd", "old",
    "pixel", "proud", "quiet", "rapid", "real", "rogue", "rusty", "salty", "shy", "silent", "silly",
    "sleepy", "smol", "sneaky", "spicy", "super", "tasty", "tiny", "toxic", "turbo", "vivid", "witty",
)  # fmt: skip
LOGIN_SECOND = (
    "apple", "badger", "banana", "bard", "bear", "bee", "biscuit", "cactus", "cat", "comet", "cookie",
    "coyote", "crow", "dragon", "duck", "falcon", "ferret", "fox", "frog", "gamer", "ghost", "goat",
    "goose", "hamster", "hawk", "hippo", "jackal", "knight", "koala", "lemon", "lion", "llama", "mango",
    "monk", "moose", "mouse", "ninja", "noodle", "otter", "owl", "panda", "penguin", "pickle", "pirate",
    "potato", "puffin", "rabbit", "raven", "robot", "samurai", "shark", "sloth", "spider", "squid",
    "tiger", "toad", "turtle", "viking", "waffle", "walrus", "whale", "wizard", "wolf", "zebra",
)  # fmt: skip

FOREIGN_NAMES = (
    "한동숙", "우왁굳", "풍월량", "加藤純一", "葛葉", "スタンミ", "もこう", "小葵", "統神端火", "國棟",
    "阿樂", "شونق", "عبدالله", "القيصر", "ليث", "Ивангай", "เอกชัย",
)  # fmt: skip

_LANGUAGES_PER_MILLE = {
    "en": 430, "es": 120, "pt": 90, "ru": 80, "de": 60, "fr": 60, "ja": 40, "ko": 30, "it": 20, "pl": 15,
    "tr": 12, "zh": 11, "cs": 6, "ar": 6, "th": 5, "uk": 4, "nl": 3, "sv": 2, "other": 2, "zh-hk": 1,
    "tl": 1, "asl": 1, "notavailable": 1,
}  # fmt: skip
LANGUAGES = tuple(language for language, share in _LANGUAGES_PER_MILLE.items() for _ in range(share))
"""1,000 entries: a language comes as often as its share."""

TITLE_OPENERS = (
    "RANKED GRIND", "Road to Diamond", "First playthrough!", "Chill stream", "24H STREAM",
    "Subathon day", "🔴 LIVE", "DROPS ON", "Late night games", "Morning coffee ☕", "!giveaway",
    "NEW UPDATE", "Speedrun attempts", "Viewer games", "Directo tranquilo", "JUGANDO CON SUBS",
    "Buenas noches 🌙", "Subindo de elo", "LIVE ON - bora jogar", "Зашёл на часик",
    "Стрим с подписчиками", "Guten Morgen", "Gemütliche Runde", "On finit le jeu", "Soirée tranquille",
    "初見プレイ", "【参加型】ランクマッチ", "深夜のまったり配信", "오늘도 즐겁게", "랭크 올리기",
    "深夜打遊戲", "Serata insieme", "Gramy dalej", "Sohbet muhabbet", "بث مباشر", "Hardcore run",
    "Learning to play", "Testing stuff", "Unranked to Radiant", "GM or bust",
)  # fmt: skip
TITLE_MIDDLES = (
    "with friends", "solo queue", "no commentary", "blind", "w/ the boys", "con amigos", "com a galera",
    "mit Freunden", "с друзьями", "みんなで", "친구들과", "100%", "any%", "hard mode", "duo",
    "community night", "Tag 3", "parte 2", "episode", "season finale", "practice", "scrims", "customs",
    "arena", "co-op", "modded", "vanilla", "permadeath", "nuzlocke", "randomizer", "story time", "react",
    "q&a", "cooking", "drawing", "building", "farming", "raiding", "trading", "exploring",
)  # fmt: skip
TITLE_TAILS = (
    "", "", "", "!discord", "!socials", "!sub", "!prime", "!commands", "| !insta !youtube", "❤️",
    "🔥🔥🔥", "PogChamp", "come say hi", "[ENG/ESP]", "(18+)", "lurkers welcome", "#ad", "!vpn !merch",
    "ft. nobody", "let's go!!!", "no backseating", "follow goal", "hype train?", "@everyone", "🏳️‍🌈",
    "✨ cozy ✨", "need 2 more wins", "day 12", "tbc", "gg",
)  # fmt: skip

# 140 code points that take 369 bytes: the longest title seen.
LONGEST_TITLE = "🎮" * 69 + "é" * 22 + "x" * 49
NASTY_TITLES = (
    "",
    LONGEST_TITLE,
    "مرحبا بكم في البث \u200fالمباشر\u202e gnol oot",
    "zero\u200bwidth\u200djoiner\ufeff",
    "broken \ufffd encoding \ufffd\ufffd",
    "language tag \U000e0000 here",
    "first line\nsecond line\r\nthird",
    "trailing spaces   ",
    '"quoted", back\\slash, semi;colon',
    "2025-08-01",
    "NULL",
)

TAGS = (
    "English", "Español", "Português", "Русский", "Deutsch", "Français", "日本語", "한국어", "中文",
    "Italiano", "Chill", "Casual", "Competitive", "Ranked", "Speedrun", "FirstPlaythrough", "NoSpoilers",
    "NoBackseating", "LGBTQIA", "Vtuber", "ADHD", "Anxiety", "SafeSpace", "Cozy", "Dad", "Gaming", "FPS",
    "RPG", "MMO", "Horror", "Indie", "Retro", "Music", "Art", "DropsEnabled", "Coop", "Community",
    "Educational", "PlayingwithViewers", "Variety",
)  # fmt: skip


def categories() -> list[tuple[int, str]]:
    """The 20,000 categories, the most popular first.

    Returns:
        Pairs of id and name; ids and names are unique, ids reach from 743 to 2,147,452,902.
    """
    known_ids = {game_id for game_id, _ in KNOWN_CATEGORIES}
    found = list(KNOWN_CATEGORIES)
    step = HIGHEST_GAME_ID // CATEGORIES
    # Editions vary slowest, so that a popular game and its sequel are not neighbours in popularity.
    words = product(_GAME_EDITION, _GAME_SECOND, _GAME_FIRST)
    for number, (edition, second, first) in enumerate(words, start=1):
        # An odd factor without a common divisor scatters the ids over their range and repeats none.
        game_id = number * 7_919 % CATEGORIES * step + number % step
        if game_id not in known_ids:
            found.append((game_id, f"{first} {second}{edition}"))
        if len(found) == CATEGORIES - 1:
            break
    return [*found, (HIGHEST_GAME_ID, "Ultimate Obscurity Simulator")]


def login_and_name(user: int, draw: int) -> tuple[str, str]:
    """The login of a user and the name shown.

    Args:
        user: the user's index in the world, from 0.
        draw: a random number from 0 to 2^63, the user's own.

    Returns:
        The login, lower case and one of a kind; and the name: mostly the login in other letters, sometimes
        another script or a trailing space.
    """
    number, word = divmod(user, len(LOGIN_FIRST) * len(LOGIN_SECOND))
    second, first = divmod(word, len(LOGIN_FIRST))
    # Neighbours differ in both words; for a given first word every second word still comes once.
    second = (second + 7 * first) % len(LOGIN_SECOND)
    digits = str(number) if number else ""
    login = f"{LOGIN_FIRST[first]}{LOGIN_SECOND[second]}{digits}"
    draw, kind = divmod(draw, 100)
    if kind < 8:
        return login, FOREIGN_NAMES[draw % len(FOREIGN_NAMES)]
    if kind < 50:
        return login, login
    name = f"{LOGIN_FIRST[first].capitalize()}{LOGIN_SECOND[second].capitalize()}{digits}"
    return login, f"{name} " if kind == 99 else name


def title(draw: int) -> str:
    """A title; a few in a hundred are nasty ones that have been seen.

    Args:
        draw: a random number from 0 to 2^63.
    """
    kind, draw = draw % 100, draw // 100
    if kind < 3:
        return NASTY_TITLES[draw % len(NASTY_TITLES)]
    draw, opener = divmod(draw, len(TITLE_OPENERS))
    draw, middle = divmod(draw, len(TITLE_MIDDLES))
    draw, tail = divmod(draw, len(TITLE_TAILS))
    number = f" #{draw % 1000}" if draw & 1024 else ""
    return f"{TITLE_OPENERS[opener]} {TITLE_MIDDLES[middle]}{number} {TITLE_TAILS[tail]}".rstrip()


def tags(draw: int) -> list[str] | None:
    """The tags of a stream: one to ten, or None; never an empty list. The same tag may come twice.

    Args:
        draw: a random number from 0 to 2^63.
    """
    draw, count = divmod(draw, 12)
    if count in (0, 11):
        return None
    # Four bits a tag do not reach the whole vocabulary; the offset moves the window.
    offset = draw % len(TAGS)
    return [TAGS[(offset + (draw >> 4 * place) % 16) % len(TAGS)] for place in range(count)]
