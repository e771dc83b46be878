// What every page needs: the choice of the theme, and menus.
import { installPopoverMenus } from "../popover-menus.js";
import { installThemes } from "../theme.js";

installThemes();
installPopoverMenus();
